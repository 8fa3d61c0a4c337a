"""What a reload would change: two footprints of configurations, compared.

A footprint is a configuration as plain values by section and key, without its secrets: of each there is
only a mark that tells another secret from the same, too short to try passwords against. The daemon answers
with its own, so that it can be compared with a file by whoever may ask it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from mailsyncd.account import Secret
from mailsyncd.config.flat import flat
from mailsyncd.config.values import Configuration, RouteSettings

SOCKET = "daemon.socket"
MARK = 2  # bytes: one changed secret in 65,536 looks like the old one, and no guess is worth making
Section = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Footprint:
    """Sections by name; `process` and `state` have keys such as daemon.log_level. `titles` say how a
    route is called."""

    process: Section
    state: Section
    destinations: Mapping[str, Section]
    routes: Mapping[str, Section]
    titles: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A section that stays, and what is different in it: key, old value, new value."""

    name: str
    keys: tuple[tuple[str, Any, Any], ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """What happens to routes, or to destinations."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Change, ...]
    untouched: int

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@dataclass(frozen=True, slots=True)
class Differences:
    """`process` is in force at once. While there is something in `restart` a reload is refused."""

    routes: Kind
    destinations: Kind
    process: tuple[tuple[str, Any, Any], ...]
    restart: tuple[tuple[str, Any, Any], ...]

    def __bool__(self) -> bool:
        return bool(self.routes or self.destinations or self.process or self.restart)

    def __str__(self) -> str:
        parts = [*_counts(self.routes, "route"), *_counts(self.destinations, "destination")]
        parts += [key for key, _, _ in self.process]
        return ", ".join(parts) or "nothing changed"


def footprint(
    configuration: Configuration, in_force: Callable[[RouteSettings], object], salt: bytes
) -> Footprint:
    """`in_force` gives all values by which a route goes: those of [daemon] and of its destination are
    among them."""

    def plain(value: object) -> dict[str, Any]:
        return dict(flat(value, lambda secret: _mark(secret, salt), compare=True))

    def section(name: str, value: object) -> dict[str, Any]:
        return {f"{name}.{key}": inner for key, inner in plain(value).items()}

    return Footprint(
        {
            **section("daemon", configuration.daemon),
            **section("http", configuration.http),
            **section("notify", configuration.notify),
        },
        section("state", configuration.state),
        {one.name: plain(one) for one in configuration.destinations},
        {one.route.key: plain(in_force(one)) for one in configuration.routes},
        {one.route.key: one.route.name for one in configuration.routes},
    )


def _mark(secret: Secret, salt: bytes) -> dict[str, str]:
    return {"secret": blake2b(secret.reveal().encode(), key=salt, digest_size=MARK).hexdigest()}


def differences(old: Footprint, new: Footprint) -> Differences:
    process = tuple(_keys(old.process, new.process))
    return Differences(
        _kind(old.routes, new.routes, {**old.titles, **new.titles}),
        _kind(old.destinations, new.destinations, {}),
        tuple(one for one in process if one[0] != SOCKET),
        (*(one for one in process if one[0] == SOCKET), *_keys(old.state, new.state)),
    )


def _kind(old: Mapping[str, Section], new: Mapping[str, Section], titles: Mapping[str, str]) -> Kind:
    both = [name for name in new if name in old]
    changes = [Change(titles.get(name, name), tuple(_keys(old[name], new[name]))) for name in both]
    changed = tuple(one for one in changes if one.keys)
    return Kind(
        tuple(titles.get(name, name) for name in new if name not in old),
        tuple(titles.get(name, name) for name in old if name not in new),
        changed,
        len(both) - len(changed),
    )


def _keys(old: Section, new: Section) -> Iterator[tuple[str, Any, Any]]:
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if before != after:
            yield key, before, after


def _counts(kind: Kind, noun: str) -> Iterator[str]:
    for what in ("added", "removed", "changed"):
        if number := len(getattr(kind, what)):
            yield f"{number} {noun if number == 1 else noun + 's'} {what}"
