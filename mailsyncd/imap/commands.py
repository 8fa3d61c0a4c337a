"""A command in flight: what it may collect, how much of it was sent, and when it is overdue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from mailsyncd.errors import ConnectionLost, Sent
from mailsyncd.imap.responses import HostileInput, Response, Status

COMMAND_TIMEOUT = 60.0  # seconds without an answer
SLOWEST = 1_000  # bytes a second: an answer that comes more slowly counts as none
MOST_KEPT = 64 * 1024 * 1024  # bytes of untagged responses for one command, unless it says otherwise
MOST_LINES = 200_000  # untagged responses kept for one command
MOST_UNASKED = 1_000_000  # responses since the last answer that no command had asked for


@dataclass(frozen=True, slots=True)
class Literal:
    """An argument sent as a literal. `synchronising`: wait for the server's `+` first. `guard` is
    asked right before the command's first byte goes out, and before the last byte and every chunk
    of the literal; it raises LeaseLost to have the command given up."""

    octets: bytes = field(repr=False)
    synchronising: bool = True
    guard: Callable[[], object] = lambda: None


Argument = str | Literal
Take = Callable[[Response], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """The untagged responses that are for a command: `names`, and at most so many bytes of them.
    They are handed to `take` as they come, or kept for the Reply."""

    names: tuple[str, ...] = ()
    take: Take | None = None
    most: int = MOST_KEPT


NOTHING = Wish()


@dataclass(frozen=True, slots=True)
class Reply:
    """A tagged answer and the untagged responses that were kept for it."""

    status: Status
    untagged: tuple[Response, ...]


@dataclass(slots=True)
class Pulse:
    """What a connection has received, and when: tells a slow server from a dead or a dawdling one."""

    last_byte: float
    last_answer: float
    received: int = 0


@dataclass(slots=True)
class Unasked:
    """What a server has sent since the last answer that no command had asked for."""

    responses: int = 0
    octets: int = 0

    def count(self, size: int) -> None:
        """One more. Raises HostileInput when it is a flood."""
        self.responses += 1
        self.octets += size
        if self.responses > MOST_UNASKED or self.octets > MOST_KEPT:
            raise HostileInput("a flood of what nobody had asked for")


@dataclass(slots=True)
class Command:
    """`since` is when the command was sent, and `received` the pulse's count of bytes at that time."""

    tag: bytes
    name: str
    wish: Wish
    answer: asyncio.Future[Status]
    timeout: float
    since: float
    received: int
    continuation: asyncio.Future[bytes] | None = None
    kept: list[Response] = field(default_factory=list)
    kept_bytes: int = 0
    sent: Sent = Sent.NOTHING
    open_ended: bool = False  # IDLE, while it lasts

    def keep(self, response: Response, *, charged: bool = True) -> None:
        """Take in an untagged response. Raises HostileInput when it is too much. `charged` is False
        for what is most likely an answer to a command before this one."""
        self.kept_bytes += (response.size + 100) * charged
        if self.kept_bytes > self.wish.most or len(self.kept) >= MOST_LINES:
            raise HostileInput(f"more than {self.wish.most:,} bytes in answer to one {self.name}")
        if self.wish.take is not None:
            self.wish.take(response)
        else:
            self.kept.append(response)

    def forget(self) -> None:
        """Nobody wants the answer any more; it is still taken in when it comes."""
        self.wish = Wish(self.wish.names, lambda response: None, self.wish.most)
        self.kept.clear()

    def overdue_at(self, pulse: Pulse) -> float:
        """The connection is lost if the answer has not come by then: after `timeout` seconds of
        silence, or of bytes that trickle. Answers to other commands, which go first, are progress."""
        if self.open_ended:
            return float("inf")
        silent = max(self.since, pulse.last_byte) + self.timeout
        trickling = (pulse.received - self.received) / SLOWEST
        return min(silent, max(self.since, pulse.last_answer) + self.timeout + trickling)

    def fail(self, why: str) -> None:
        """Whoever awaits this command gets ConnectionLost, in this very moment."""
        error = ConnectionLost(why, self.sent)
        for future in (self.answer, self.continuation):
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # its waiter may have been cancelled: that is no leak
