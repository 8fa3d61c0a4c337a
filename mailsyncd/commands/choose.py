"""`--route R`: which of the configured routes are meant."""

from __future__ import annotations

from dataclasses import replace

from mailsyncd.config.values import Configuration
from mailsyncd.errors import ConfigError, Problem


def only_route(configuration: Configuration, wanted: str | None) -> Configuration:
    """The configuration with only those routes whose Gmail address, folder or name is `wanted`,
    and their destinations. Raises ConfigError if there is none."""
    if wanted is None:
        return configuration
    name = wanted.casefold()
    chosen = tuple(
        one
        for one in configuration.routes
        if name in (one.route.gmail.casefold(), one.route.folder.casefold(), one.route.name.casefold())
    )
    if not chosen:
        names = ", ".join(one.route.name for one in configuration.routes)
        raise ConfigError(Problem("--route", f"no route is called {wanted!r}; there are: {names}"))
    needed = {one.route.destination for one in chosen}
    targets = tuple(one for one in configuration.destinations if one.name in needed)
    return replace(configuration, routes=chosen, destinations=targets)
