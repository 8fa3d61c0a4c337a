"""What makes one server differ from another: its words, and its habits as options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from enum import Enum


class Literals(Enum):
    """Which literals the server takes without being asked (RFC 7888)."""

    SYNCHRONISING = ""
    PLUS = "LITERAL+"
    MINUS = "LITERAL-"  # up to 4096 bytes


class Refusal(Enum):
    """How a bad access token is turned down."""

    CHALLENGE = "challenge"  # Gmail: `+ <json>`, an empty line, and only then NO (A6)
    PLAIN = "plain"  # Outlook: NO, without a reason (B4)


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of one server. `done` gives the text of a tagged OK, by command."""

    greeting: str
    signed_in: Callable[[str], str]
    refused: str
    done: Callable[[str], str]
    idling: str
    idle_done: str
    bye: str
    logged_out: str
    expired: str
    too_many: str
    hang_up: str
    no_mailbox: Callable[[str], str]
    identity: str = "NIL"
    unknown: str = "BAD Unknown command"
    bad_literal: str = "BAD Invalid literal"


@dataclass(frozen=True, slots=True)
class Personality:
    """A server's habits. Each is an option, so that a test can vary what is not certain.

    `session_life` is in seconds, drawn anew for each session between its two bounds; a session
    never outlives the access token that it signed in with (A15, B7) when `ends_with_token`.
    """

    name: str
    words: Words
    before_login: str
    after_login: str
    announces_after_login: bool
    refusal: Refusal
    flags: tuple[str, ...] = ("\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "\\Seen")
    keywords: bool = False  # \* in PERMANENTFLAGS
    gmail_extensions: bool = False
    inbox_name: str = "INBOX"
    folders: tuple[tuple[str, tuple[str, ...]], ...] = ()
    case_insensitive: bool = False
    reserved: frozenset[str] = frozenset()
    zone: tzinfo = UTC  # of INTERNALDATE as shown (B46)
    search_zone: tzinfo = UTC  # whose midnights SINCE and BEFORE mean (A37)
    literals: Literals = Literals.PLUS
    literals_after_refusal: bool = True  # False: an early body is then read as commands (B29, B33)
    idle: bool = True
    uidplus: bool = True
    append_uid: bool = True
    uid_comes_last: bool = False
    size_is_estimate: bool = False
    empty_set_refused: bool = False
    session_life: tuple[float, float] | None = None
    ends_with_token: bool = True
    max_connections: int | None = None
    max_errors: int | None = None
    max_message: int | None = None
    too_big: str = "NO Maximum size of appendable message has been exceeded"
    max_body_line: int | None = None
    long_line: str = "BAD Command Error. 10"
    objection: Callable[[bytes], str | None] | None = field(default=None, repr=False)  # to a body (B36)
    max_command_line: int = 65_536
    rewrite: Callable[[bytes], bytes] | None = field(default=None, repr=False)
    bytewise: bool = False  # answers go out one byte at a time

    def capabilities(self, *, signed_in: bool) -> str:
        """The capability list, without what has been switched off."""
        missing = set()
        if not self.idle:
            missing.add("IDLE")
        if not self.uidplus:
            missing.add("UIDPLUS")
        if not self.gmail_extensions:
            missing.add("X-GM-EXT-1")
        wanted = self.literals.value
        names = (self.after_login if signed_in else self.before_login).split()
        kept = [name for name in names if name not in missing and not name.startswith("LITERAL")]
        if wanted and (signed_in or "LITERAL" in self.before_login):
            kept.append(wanted)
        return " ".join(kept)
