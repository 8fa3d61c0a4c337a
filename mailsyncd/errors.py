"""What can go wrong, graded by how far it reaches and what there is to do about it.

An error's type is the decision: the code that catches it never looks at its text.
Every message is one sentence for the person who runs mailsyncd; none may hold a
token, a subject or a body (I9). Library exceptions are translated into these at the
edge of the adapter that touches the library, and go no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class MailsyncError(Exception):
    """The root: catching it catches everything mailsyncd raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration: where it is, what is wrong, what would be right."""

    where: str
    what: str
    line: int | None = None
    source: str | None = None

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}: " if self.source and self.line else ""
        place = place or (f"{self.source}: " if self.source else "")
        return f"{place}{self.where}: {self.what}" if self.where else f"{place}{self.what}"


class ConfigError(MailsyncError):
    """The configuration can't be used. Reaches: the process. Holds every problem at once."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class SecretsUnavailable(MailsyncError):
    """A store of secrets can't be asked now, and nothing else is wrong with the configuration. Reaches:
    the process, or the reload. It may pass with nothing changed."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class StateUnavailable(MailsyncError):
    """The state store did not answer as it must. Reaches: everything; copying stops (I1)."""


class LeaseLost(MailsyncError):
    """Another daemon writes, or may soon write, to this destination. Reaches: its writer."""


class StateForgot(MailsyncError):
    """The store was emptied, or restored to earlier: to go on would copy again what is there, or
    leave out what isn't. Reaches: the destination, until its user has the state rebuilt."""

    def __init__(self, evidence: str) -> None:
        super().__init__(
            f"{evidence}: it was emptied or restored. Nothing is copied until: mailsyncd state rebuild"
        )


class Transient(MailsyncError):
    """It may well work on a new connection, later. Reaches: one connection."""


class Sent(Enum):
    """How much of an APPEND can have reached the server when its connection broke."""

    NOTHING = "nothing"  # the last byte of the literal was never handed to the transport
    EVERYTHING = "everything"  # all of it was: the server may have kept the message (I8)


class ConnectionLost(Transient):
    """The connection ended, or was thrown away because a command missed its deadline."""

    def __init__(self, why: str, sent: Sent = Sent.NOTHING) -> None:
        self.sent = sent
        super().__init__(why)


class Throttled(Transient):
    """The server asks for a pause. `pause` is in seconds, as the server said it. `sent` NOTHING: it
    had asked for it before, so that the command was not even begun."""

    def __init__(self, why: str, pause: float, sent: Sent = Sent.EVERYTHING) -> None:
        self.pause = pause
        self.sent = sent
        super().__init__(why)


class DestinationFull(Transient):
    """The destination has no room. Reaches: its writer; messages wait, none has failed."""


class DestinationSuspected(DestinationFull):
    """Several different messages were refused alike, with none accepted between (B37)."""


class AuthRejected(MailsyncError):
    """The server refused this access token or password. A fresh token is tried once."""


class RouteBlocked(MailsyncError):
    """Only a person can mend it (consent revoked, IMAP off, folder missing). Reaches: a route. `state` is
    what status calls it."""

    state = "blocked"


class SignInNeeded(RouteBlocked):
    """The provider takes the refresh token no more, and only its user can help. Reaches: the routes of an
    account. `error` and `detail` are what the token endpoint said, `skew` how many seconds its clock is
    ahead of ours. `mended` is set once it is mended: a pause need not be longer."""

    state = "needs_sign_in"

    def __init__(
        self,
        why: str,
        *,
        error: str = "",
        detail: str = "",
        skew: float = 0.0,
        mended: asyncio.Event | None = None,
    ) -> None:
        self.error = error
        self.detail = detail
        self.skew = skew
        self.mended = mended or _never()
        super().__init__(why)


def _never() -> asyncio.Event:
    """An event that nobody will set. Loaded here: a health check knows these errors, and needs no loop."""
    import asyncio

    return asyncio.Event()


class SignInFailed(MailsyncError):
    """A sign-in that a person began did not come to its end: nothing was stored."""


class InvocationFailed(MailsyncError):
    """A function was called with what it does not understand, or could not do all of it. Reaches: this
    call; the next one is another try."""


class FailureKind(Enum):
    """Why a message was set aside."""

    OVERSIZE = "oversize"
    LINE_TOO_LONG = "line_too_long"
    REJECTED = "rejected"
    SOURCE_UNREADABLE = "source_unreadable"
    VANISHED = "vanished"  # gone from the source before it could be read


class MessageRejected(MailsyncError):
    """This one message can't be copied; its neighbours are innocent. Reaches: a message. `vague`:
    the server did not say what is wrong with it, so that it may be a full mailbox as well (B37)."""

    def __init__(self, why: str, kind: FailureKind = FailureKind.REJECTED, *, vague: bool = False) -> None:
        self.kind = kind
        self.vague = vague
        super().__init__(why)
