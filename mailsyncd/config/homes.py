"""Where each refresh token stands, and by what command its user signs in again so that it gets there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mailsyncd.account import Home, Issuer
from mailsyncd.config import schema
from mailsyncd.config.secrets import VAULTS, SecretSpec, is_guarded, within
from mailsyncd.stored import Reference, Vault

_GOOGLE = ("googleapis.com", "google.com")
_MICROSOFT = ("microsoftonline.com", "live.com", "microsoftonline.us", "partner.microsoftonline.cn")


@dataclass(frozen=True, slots=True)
class Homes:
    """`variables`: dotted key -> the variable it was set by. `stores`: variable -> where in AWS it is
    kept, if there. `region` is AWS's, `path` that of the configuration."""

    environ: Mapping[str, str] = field(default_factory=dict)
    base: Path = Path()
    variables: Mapping[str, str] = field(default_factory=dict)
    stores: Mapping[str, Reference] = field(default_factory=dict)
    region: str | None = None
    path: Path | None = None

    def of(self, spec: SecretSpec | None, key: str) -> Home:
        """Of what stands under a dotted key."""
        if spec is None:
            return Home()
        if spec.kind in VAULTS:
            return self._stored(Reference(Vault(spec.kind), spec.value), spec.key)
        match spec.kind:
            case "env":
                return self._variable(spec.value, spec.value)
            case "file" if "\0" not in spec.value:
                path = within(self.base, spec.value, self.environ)
                return Home("credential" if is_guarded(path, self.environ) else "file", str(path))
            case "credential":
                return Home("credential", spec.value)
        if key in self.variables:
            return self._variable(self.variables[key], self.variables[key])
        # All routes may come from one variable, in which a token has no key of its own.
        whole = self.variables.get(key.partition("[")[0])
        return self._variable(whole, None) if whole else Home()

    def _variable(self, name: str, key: str | None) -> Home:
        if name in self.stores:
            return self._stored(self.stores[name], key)
        return Home("env", name)

    def _stored(self, reference: Reference, key: str | None) -> Home:
        return Home(reference.vault.value, reference.name, key, reference.region or self.region)

    def remedy(self, given: schema.Destination | schema.Route, home: Home) -> str:
        """What to run, word by word."""
        words = ["mailsyncd", "auth", "gmail" if isinstance(given, schema.Route) else "microsoft"]
        if self.path is not None:
            words += ["--config", str(self.path)]
        if isinstance(given, schema.Route):
            words += ["--route", given.gmail]
        else:
            words += ["--destination", given.name]
        if home.is_followed and home.key is not None:
            what, name = ("parameter", "name") if home.kind == "ssm" else ("secret", "id")
            words += [f"--write-{what}-{name}", home.name, f"--write-{what}-key", home.key]
        return shlex.join(words)


def issuer_of(given: schema.Destination | schema.Route, token_url: str) -> Issuer:
    """By the host that refreshes; one of one's own on loopback stands in for the real one."""
    host = (urlsplit(token_url).hostname or "").lower()
    if _is_in(host, _GOOGLE):
        return Issuer.GOOGLE
    if _is_in(host, _MICROSOFT):
        return Issuer.MICROSOFT
    if schema.is_loopback(host):
        return Issuer.GOOGLE if isinstance(given, schema.Route) else Issuer.MICROSOFT
    return Issuer.OTHER


def _is_in(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == one or host.endswith("." + one) for one in domains)
