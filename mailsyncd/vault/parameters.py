"""SSM parameters as they are written: which version, by which key encrypted, and nothing in clear text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mailsyncd.account import Secret
from mailsyncd.stored import Trouble
from mailsyncd.vault.client import Client
from mailsyncd.vault.troubles import Refused

STANDARD = 4096  # bytes of a value
ADVANCED = 8192  # bytes; this tier costs a little
_KEPT = ("KeyId", "Description", "AllowedPattern")  # what a new version would lose if it were not said again


@dataclass(frozen=True, slots=True)
class Version:
    """A parameter that is there. `number` is the newest version's."""

    number: int
    whole: Secret

    def numbered(self, number: int) -> Version:
        return replace(self, number=number)


async def newest(client: Client, name: str) -> Version | None:
    """None if there is none. Raises Refused, also for one that is not a SecureString."""
    answer = await client.ask("get_parameters", Names=[name], WithDecryption=True)
    if not answer.get("Parameters"):
        return None
    return _version(answer["Parameters"][0])


async def version(client: Client, name: str, number: int) -> Version:
    """A certain one, which has been there."""
    found = await newest(client, f"{name}:{number}")
    if found is None:
        raise Refused(Trouble(f"no longer has its version {number}", passes=True))
    return found


def _version(parameter: dict[str, Any]) -> Version:
    if parameter["Type"] != "SecureString":
        # AWS can't change the type, and a secret is not to be written into clear text.
        raise Refused(Trouble(f"is a {parameter['Type']}, not a SecureString: delete it, or choose another"))
    return Version(parameter["Version"], Secret(parameter["Value"]))


def check(value: str) -> int:
    """Its size in bytes. Raises Refused for what no parameter takes."""
    octets = len(value.encode())
    if octets > ADVANCED:
        raise Refused(Trouble(f"would have {octets} bytes, and SSM takes {ADVANCED}"))
    return octets


async def put(client: Client, name: str, value: str, base: Version | None) -> int | None:
    """The number of the new version; None if there is a parameter where none was expected."""
    octets = check(value)
    more: dict[str, Any] = {"Tier": "Advanced"} if octets > STANDARD else {}
    if base is None:
        more["Type"] = "SecureString"
    else:
        more |= {"Overwrite": True, **await _kept(client, name)}
    try:
        answer = await client.ask("put_parameter", Name=name, Value=value, **more)
    except Refused as error:
        if error.code == "ParameterAlreadyExists":
            return None
        raise
    return int(answer["Version"])


async def _kept(client: Client, name: str) -> dict[str, Any]:
    """Above all the key: without a word AWS would take its own instead of the user's."""
    newest: dict[str, Any] = {}
    more: dict[str, Any] = {}
    while True:  # 100 versions at the most, 50 at a time
        answer = await client.ask("get_parameter_history", Name=name, WithDecryption=False, **more)
        newest = max([newest, *answer.get("Parameters", ())], key=lambda one: one.get("Version", 0))
        if not answer.get("NextToken"):
            return {key: newest[key] for key in _KEPT if newest.get(key)}
        more = {"NextToken": answer["NextToken"]}
