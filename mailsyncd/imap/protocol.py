"""A connection: commands in flight by tag, literals, IDLE, and what becomes of them all when
the connection ends.

Three rules. A connection that failed once, by loss, BYE, a deadline or hostile input, fails
everything in flight at once and refuses everything after. A command goes out whole, under the
send lock, so that no other command's bytes can stand inside it. And one timer watches over
everything in flight, whether or not somebody still waits for it.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from aioimaplib.aioimaplib import NONAUTH

from mailsyncd.errors import ConnectionLost, LeaseLost, Sent, Throttled
from mailsyncd.imap.commands import (
    COMMAND_TIMEOUT,
    NOTHING,
    Argument,
    Command,
    Literal,
    Pulse,
    Reply,
    Unasked,
    Wish,
)
from mailsyncd.imap.hush import Hush
from mailsyncd.imap.outlet import Outlet
from mailsyncd.imap.permitted import require
from mailsyncd.imap.responses import (
    HostileInput,
    LiteralTooLarge,
    Response,
    ResponseReader,
    printable,
    status_of,
)
from mailsyncd.steps import Step, reached

CLOSE_TIMEOUT = 5.0  # seconds for LOGOUT
MOST_CHALLENGES = 5  # in one AUTHENTICATE

Hearer = Callable[[int | None, str, Response], None]

_UNTAGGED = re.compile(rb"\* (?:(\d{1,20}) )?([A-Za-z][A-Za-z0-9-]*)")
_ANSWER = re.compile(rb"(?:OK|NO|BAD)\b", re.IGNORECASE)
_NO_IMAP = re.compile(rb"server (?:unavailable|busy|error)", re.IGNORECASE)  # B23
_NEWS = frozenset({"EXISTS", "RECENT"})  # two for each APPEND to a selected folder; no wish names them
_ABORTING = frozenset({"APPEND", "AUTHENTICATE", "LOGIN", "IDLE"})


class Connection(asyncio.Protocol):
    """`heard` is called with every untagged response: its number, its name, and all of it. With
    the name ANSWER it tells that a command has been answered, with LOST that the connection ended."""

    def __init__(self, where: str, *, max_literal: int) -> None:
        self._loop = asyncio.get_running_loop()
        self.where = where
        self.greeting: asyncio.Future[Response] = self._loop.create_future()
        self.heard: Hearer = lambda number, name, response: None
        self.why_lost: str | None = None
        self.too_large = False  # lost over a literal beyond the limit
        self.hush = Hush()
        self.state: str = NONAUTH
        self.allowed: frozenset[str] | None = None
        self._reader = ResponseReader(max_literal=max_literal)
        self._out = Outlet()
        self._commands: dict[bytes, Command] = {}
        self._sending = asyncio.Lock()
        self._ended = asyncio.Event()
        self._idle: Command | None = None
        self._prefix = secrets.token_hex(3).upper().encode()
        self._number = 0
        self._unasked = Unasked()
        self._pulse = Pulse(self._loop.time(), self._loop.time())
        self._watch: asyncio.TimerHandle | None = None
        self._logging_out = False

    # ---------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_connection makes no other
        self._out.attach(transport)

    def secured(self, transport: asyncio.Transport, below: asyncio.WriteTransport) -> None:
        """Made, over TLS; `below` is the transport that carries its records."""
        self._out.attach(transport, below)

    def data_received(self, data: bytes) -> None:
        self._pulse.last_byte = self._loop.time()
        self._pulse.received += len(data)
        try:
            for response in self._reader.feed(data):
                if self.why_lost is not None:
                    return
                self._handle(response)
        except HostileInput as hostile:
            self.too_large = isinstance(hostile, LiteralTooLarge)
            self.fail(f"the server sent {hostile}")

    def eof_received(self) -> None:
        self.fail("the server hung up")  # at once: the transport would first send all it still holds

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(f"the connection was lost ({type(error).__name__})" if error else "the server hung up")
        self._ended.set()

    def pause_writing(self) -> None:
        self._out.pause()

    def resume_writing(self) -> None:
        self._out.resume()

    # ------------------------------------------------------------------- ending

    def fail(self, why: str) -> None:
        """End the connection now: everything in flight gets ConnectionLost, in this very moment."""
        if self.why_lost is not None:
            return
        self.why_lost = f"{self.where}: {why}"
        self._idle = None
        self._out.close()
        if self._watch is not None:
            self._watch.cancel()
        if not self.greeting.done():
            self.greeting.set_exception(self.lost())
            self.greeting.exception()
        for command in self._commands.values():
            command.fail(self.why_lost)
        self._commands.clear()
        self.heard(None, "LOST", Response((b"",)))

    def lost(self, sent: Sent = Sent.NOTHING) -> ConnectionLost:
        return ConnectionLost(self.why_lost or f"{self.where}: closed", sent)

    async def close(self) -> None:
        """LOGOUT, unless the line is gone or hushed; then close it. Never raises, takes 10 s at the most."""
        try:
            if self.why_lost is None:
                self._logging_out = True
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self.execute("LOGOUT")
        except (ConnectionLost, Throttled, TimeoutError):
            pass
        finally:
            self.fail("closed")
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._ended.wait()

    def _look(self) -> None:
        """End the connection if something is overdue, else look again when that may be."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if not self._commands or self.why_lost is not None:
            return
        command = min(self._commands.values(), key=lambda one: one.overdue_at(self._pulse))
        due = command.overdue_at(self._pulse)
        if due <= self._loop.time():
            self.fail(f"no answer to {command.name} for {command.timeout:.0f} s")
        elif due != float("inf"):
            self._watch = self._loop.call_at(due, self._look)

    # ---------------------------------------------------------------- receiving

    def _handle(self, response: Response) -> None:
        text = response.text
        if text.startswith(b"+"):
            self._continue(text[1:].strip())
        elif text.startswith(b"* "):
            self._untagged(response)
        else:
            self._tagged(text)

    def _continue(self, text: bytes) -> None:
        for command in self._commands.values():
            if command.continuation is not None and not command.continuation.done():
                command.continuation.set_result(text)
                if command.name == "IDLE":
                    command.open_ended, self._idle = True, command
                return
        self._unasked.count(len(text))  # some servers send one that nobody awaits (B24)

    def _untagged(self, response: Response) -> None:
        if not (match := _UNTAGGED.match(response.text)):
            self._unasked.count(response.size)
            return
        name = match[2].decode("ascii").upper()
        if not self.greeting.done():
            self.greeting.set_result(response)
            return
        self.heard(int(match[1]) if match[1] else None, name, response)
        if name == "BYE" and not self._logging_out:
            self.fail(f"the server said BYE {status_of(response.text[2:]).text}")
            return
        self._hand_out(name, response)

    def _hand_out(self, name: str, response: Response) -> None:
        """To the oldest command that wants it. Whose a FETCH or a STATUS is, only its contents tell (A31)."""
        if name in _NEWS:
            self._unasked.count(response.size)
            return
        takers = [command for command in self._commands.values() if name in command.wish.names]
        for command in takers if name in ("FETCH", "STATUS") else takers[:1]:
            command.keep(response, charged=command is takers[0])
        if not takers:
            self._unasked.count(response.size)

    def _tagged(self, text: bytes) -> None:
        if not self.greeting.done():
            self.fail(f"this is no IMAP server: it began with {printable(text, 60)!r}")
            return
        tag, _, rest = text.partition(b" ")
        command = self._commands.pop(tag, None)
        if command is None:
            if _ANSWER.match(rest):
                # Bytes of ours were taken for commands: the session can't be trusted (B33).
                self.fail("the server answered a command that was never given")
            elif _NO_IMAP.match(text):
                self.fail(f"the server said {printable(text)}")
            else:
                self._unasked.count(len(text))  # [COPYUID ...] and other oddities (B22)
            return
        self._unasked, self._pulse.last_answer = Unasked(), self._loop.time()
        if not command.answer.done():  # its caller was cancelled in this turn of the loop
            command.answer.set_result(status_of(rest))
        if command.continuation is not None and not command.continuation.done():
            command.continuation.cancel()
        if command is self._idle:
            self._idle = None
        self.heard(None, "ANSWER", Response((text,)))

    # ------------------------------------------------------------------ sending

    async def execute(
        self, name: str, *arguments: Argument, wish: Wish = NOTHING, timeout: float = COMMAND_TIMEOUT
    ) -> Reply:
        """Send a command and await its tagged answer. `timeout`: seconds from the last byte sent;
        an answer that keeps coming may take longer.

        Raises ConnectionLost; a NO or BAD is an answer like any other.
        """
        return await self.finish(await self.begin(name, *arguments, wish=wish, timeout=timeout))

    async def begin(
        self, name: str, *arguments: Argument, wish: Wish = NOTHING, timeout: float = COMMAND_TIMEOUT
    ) -> Command:
        """Put a command on the wire, until its last byte is with the transport or it was refused."""
        require(name, arguments, state=self.state, allowed=self.allowed)
        async with self._sending:
            for one in arguments:
                if isinstance(one, Literal):
                    one.guard()
            command = self._register(name, wish)
            try:
                await self._write_command(command, arguments)
            except (asyncio.CancelledError, LeaseLost):
                self.fail(f"{name} was cancelled half-way")
                raise
            command.since, command.timeout = self._loop.time(), timeout
        return command

    async def finish(self, command: Command) -> Reply:
        """Await the answer. If the caller is cancelled, the answer is taken in all the same when it
        comes; where that is not safe, the connection ends."""
        try:
            status = await command.answer
        except asyncio.CancelledError:
            command.answer = self._loop.create_future()  # the other one was cancelled
            command.forget()
            if command.name in _ABORTING:
                self.fail(f"{command.name} was cancelled")
            raise
        return Reply(status, tuple(command.kept))

    async def converse(
        self, name: str, *arguments: str, wish: Wish, answers: Callable[[bytes], bytes]
    ) -> Reply:
        """A command that the server answers with challenges (AUTHENTICATE): `answers` replies to each."""
        require(name, arguments, state=self.state, allowed=self.allowed)
        command = self._register(name, wish)
        command.continuation = self._loop.create_future()
        self._out.write(b" ".join((command.tag, name.encode(), *map(str.encode, arguments))) + b"\r\n")
        try:
            for _ in range(MOST_CHALLENGES):
                await asyncio.wait([command.continuation])
                if command.answer.done():
                    break
                challenge = command.continuation.result()
                command.continuation = self._loop.create_future()
                self._out.write(answers(challenge) + b"\r\n")
            else:
                self.fail(f"the server does not come to an end with {name}")
        except asyncio.CancelledError:
            self.fail(f"{name} was cancelled")
            raise
        return await self.finish(command)

    def _register(self, name: str, wish: Wish) -> Command:
        if self.why_lost is not None:
            raise self.lost()
        now = self._loop.time()
        self.hush.check(now)
        self._number += 1
        tag = self._prefix + b"%d" % self._number
        command = Command(
            tag, name, wish, self._loop.create_future(), COMMAND_TIMEOUT, now, self._pulse.received
        )
        self._commands[tag] = command
        if self._watch is None or command.overdue_at(self._pulse) < self._watch.when():
            self._look()
        return command

    async def _write_command(self, command: Command, arguments: Sequence[Argument]) -> None:
        # DONE in the same flight: RFC 2177 ends IDLE with this line.
        out = self._done() + command.tag + b" " + command.name.encode("ascii")
        for argument in arguments:
            if isinstance(argument, str):
                out += b" " + argument.encode("utf-8")
                continue
            out += b" {%d%s}\r\n" % (len(argument.octets), b"" if argument.synchronising else b"+")
            if argument.synchronising:
                self._out.write(out)
                out = b""
            reached(Step.APPEND_LINE)
            if argument.synchronising and not await self._may_go_on(command):
                return  # refused: the literal is kept back (B29)
            if argument.synchronising and command.answer.done():
                self.fail(f"{command.name} was answered before it was complete")  # who counts what?
                return
            if argument.synchronising:
                reached(Step.CONTINUED)
            reached(Step.LITERAL_BEGUN)
            go_on = partial(self._go_on, command, argument)
            out = await self._out.write_literal(out, command, argument, go_on)
            reached(Step.LITERAL_BUT_LAST)
        self._out.write(out + b"\r\n")
        if command.sent is Sent.EVERYTHING:
            reached(Step.APPEND_SENT)

    async def _may_go_on(self, command: Command) -> bool:
        """Await the server's `+`; False if it refuses."""
        if command.answer.done():
            return False
        command.continuation = self._loop.create_future()
        await asyncio.wait([command.continuation])
        return not command.continuation.cancelled() and command.continuation.exception() is None

    def _go_on(self, command: Command, literal: Literal) -> None:
        """Raise if no more may be sent of a command under way."""
        if self.why_lost is not None:
            raise self.lost(command.sent)
        literal.guard()
        command.since = self._loop.time()

    @property
    def idling(self) -> bool:
        return self._idle is not None

    @property
    def busy(self) -> bool:  # with anything but IDLE
        return any(command is not self._idle for command in self._commands.values())

    async def start_idle(self) -> bool:
        """Enter IDLE; False if the server will not. The next command ends it by itself."""
        require("IDLE", (), state=self.state, allowed=self.allowed)
        async with self._sending:
            if self._idle is not None:
                return True
            command = self._register("IDLE", NOTHING)
            self._out.write(command.tag + b" IDLE\r\n")
            try:
                return await self._may_go_on(command)
            except asyncio.CancelledError:
                self.fail("IDLE was cancelled half-way")
                raise

    async def end_idle(self) -> None:
        async with self._sending:
            self._out.write(self._done())

    def _done(self) -> bytes:
        if self._idle is None:
            return b""
        self._idle.open_ended, self._idle.since = False, self._loop.time()
        self._idle = None
        self._look()
        return b"DONE\r\n"
