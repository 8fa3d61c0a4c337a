"""How a destination wants to be driven, by its host; each key can be overridden by the user."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Literals(Enum):
    """How APPEND's body goes out. AUTO: without waiting, where a probe has shown that to be safe."""

    AUTO = "auto"
    SYNCHRONISING = "sync"
    PLUS = "plus"


@dataclass(frozen=True, slots=True)
class Profile:
    """`window` in messages, `window_bytes`, `max_message` and `max_line` in bytes, `per_second` in
    messages; `selects`: a folder that gets many messages."""

    name: str
    literals: Literals = Literals.AUTO
    window: int = 128
    window_bytes: int = 16 * 1024 * 1024
    per_second: float | None = None
    max_message: int | None = None
    max_line: int | None = None
    confirms_login: bool = False
    selects: bool = True


# A refused body sent early would be read as commands (B29, B33); four messages a second is what
# others have found to be safe (B52); size and length of a line are what this service takes at
# least (B38, B35). A login may succeed and everything after it fail, so it is tried at once (B5).
# At that pace there is nothing to gain from selecting a folder.
MICROSOFT = Profile(
    "microsoft",
    literals=Literals.SYNCHRONISING,
    window=8,
    per_second=4.0,
    max_message=35_000_000,
    max_line=9_900,
    confirms_login=True,
    selects=False,
)
OTHER = Profile("other")

_MICROSOFT_HOSTS = ("outlook.office365.com", "outlook.office.com", "imap-mail.outlook.com", "outlook.com")


def choose(
    host: str,
    *,
    literals: str | None = None,
    window: int | None = None,
    per_second: float | None = None,
    max_message: int | None = None,
    max_line: int | None = None,
) -> Profile:
    """The profile of a host, with what the user set instead. `per_second` 0 means no pace,
    `max_line` 0 no limit."""
    name = host.lower().rstrip(".")
    known = any(name == one or name.endswith("." + one) for one in _MICROSOFT_HOSTS)
    profile = MICROSOFT if known else OTHER
    if literals is not None and Literals(literals) is not Literals.AUTO:
        profile = replace(profile, literals=Literals(literals))
    if window is not None:
        profile = replace(profile, window=window)
    if per_second is not None:
        profile = replace(profile, per_second=per_second or None)
    if max_message is not None:
        profile = replace(profile, max_message=max_message)
    if max_line is not None:
        profile = replace(profile, max_line=max_line or None)
    return profile
