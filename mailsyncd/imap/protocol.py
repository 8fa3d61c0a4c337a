"""A connection: commands in flight by tag, literals, IDLE, and what becomes of them all when
the connection ends.

Two rules. A connection that failed once, by loss, BYE, a deadline or hostile input, fails
everything in flight at once and refuses everything after. And a command goes out whole, under
the send lock, so that no other command's bytes can stand inside it.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aioimaplib.aioimaplib import CONTROL_CHARS, Commands

from mailsyncd.errors import ConnectionLost, Sent
from mailsyncd.imap.faults import unreachable
from mailsyncd.imap.responses import HostileInput, Response, ResponseReader, Status, printable, status_of
from mailsyncd.model import Endpoint

CONNECT_TIMEOUT = 60.0  # seconds, with TLS; throttled servers are slow (A27)
COMMAND_TIMEOUT = 60.0  # seconds without an answer
CLOSE_TIMEOUT = 5.0  # seconds for LOGOUT
CHUNK = 128 * 1024  # bytes of a literal handed to the transport at once
MOST_KEPT = 64 * 1024 * 1024  # bytes of untagged responses kept for one command
MOST_UNASKED = 1_000_000  # untagged responses since the last tagged one

_UNTAGGED = re.compile(rb"\* (?:(\d{1,20}) )?([A-Za-z][A-Za-z0-9-]*)")
_ANSWER = re.compile(rb"(?:OK|NO|BAD)\b", re.IGNORECASE)
_NO_IMAP = re.compile(rb"server (?:unavailable|busy|error)", re.IGNORECASE)  # B23
_ABORTING = frozenset({"APPEND", "AUTHENTICATE", "LOGIN", "IDLE"})


@dataclass(frozen=True, slots=True)
class Literal:
    """An argument sent as a literal. `synchronising`: wait for the server's `+` first."""

    octets: bytes = field(repr=False)
    synchronising: bool = True


Argument = str | Literal


@dataclass(frozen=True, slots=True)
class Reply:
    """A tagged answer and the untagged responses that came for it."""

    status: Status
    untagged: tuple[Response, ...]


@dataclass(slots=True)
class _Command:
    tag: bytes
    name: str
    wants: frozenset[str]
    take: Callable[[Response], None] | None
    answer: asyncio.Future[Status]
    continuation: asyncio.Future[bytes] | None = None
    kept: list[Response] = field(default_factory=list)
    kept_bytes: int = 0
    sent: Sent = Sent.NOTHING


class Connection(asyncio.Protocol):
    """Made by connect(). `heard` is called with every untagged response: its number, name, and all."""

    def __init__(self, where: str, *, max_literal: int) -> None:
        self.where = where
        self.greeting: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self.heard: Callable[[int | None, str, Response], None] = lambda number, name, response: None
        self.lost: ConnectionLost | None = None
        self.state = "NONAUTH"
        self.allowed: frozenset[str] | None = None
        self._reader = ResponseReader(max_literal=max_literal)
        self._transport: asyncio.Transport | None = None
        self._commands: dict[bytes, _Command] = {}
        self._sending = asyncio.Lock()
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = asyncio.Event()
        self._idle: _Command | None = None
        self._prefix = secrets.token_hex(3).upper().encode()
        self._number = 0
        self._unasked = 0
        self._last_byte = asyncio.get_running_loop().time()
        self._logging_out = False

    # ---------------------------------------------------------- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_connection makes no other
        self._transport = transport
        if (sock := transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)

    def data_received(self, data: bytes) -> None:
        self._last_byte = asyncio.get_running_loop().time()
        try:
            for response in self._reader.feed(data):
                if self.lost is None:
                    self._handle(response)
        except HostileInput as hostile:
            self.fail(f"the server sent {hostile}")

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(f"the connection was lost ({type(error).__name__})" if error else "the server hung up")
        self._ended.set()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ------------------------------------------------------------------- ending

    def fail(self, why: str) -> None:
        """End the connection now: everything in flight gets ConnectionLost, in this very moment."""
        if self.lost is not None:
            return
        self.lost = ConnectionLost(f"{self.where}: {why}")
        self._writable.set()
        if self._transport is not None:
            self._transport.abort()
        if not self.greeting.done():
            self.greeting.set_exception(self.lost)
            self.greeting.exception()
        for command in list(self._commands.values()):
            self._resolve(command, ConnectionLost(str(self.lost), command.sent))
        self._commands.clear()
        self._idle = None
        self.heard(None, "LOST", Response((b"",)))

    def _resolve(self, command: _Command, error: ConnectionLost) -> None:
        for future in (command.answer, command.continuation):
            if future is not None and not future.done():
                future.set_exception(error)
                future.exception()  # its waiter may have been cancelled: that is no leak

    async def close(self) -> None:
        """LOGOUT if the line is still there; then close it. Never raises, takes 5 s at the most."""
        if self.lost is None:
            self._logging_out = True
            try:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self.execute("LOGOUT")
            except (ConnectionLost, TimeoutError):
                pass
        self.fail("closed")
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._ended.wait()
        except TimeoutError:
            pass

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
                return
        # Nobody awaits it: some servers send one unasked (B24).

    def _untagged(self, response: Response) -> None:
        self._unasked += 1
        if self._unasked > MOST_UNASKED:
            self.fail("the server floods us with responses nobody asked for")
            return
        match = _UNTAGGED.match(response.text)
        if not match:
            return  # [COPYUID ...] on a line of its own, and other oddities (B22, B23)
        number = int(match[1]) if match[1] else None
        name = match[2].decode("ascii").upper()
        if not self.greeting.done():
            self.greeting.set_result(response)
            return
        self.heard(number, name, response)
        if name == "BYE" and not self._logging_out:
            self.fail(f"the server said BYE {status_of(response.text[2:]).text}")
            return
        for command in self._commands.values():
            if name in command.wants:
                self._keep(command, response)
                if name != "FETCH":
                    return

    def _keep(self, command: _Command, response: Response) -> None:
        if command.take is not None:
            command.take(response)
            return
        command.kept_bytes += response.size + 100
        if command.kept_bytes > MOST_KEPT:
            self.fail(f"more than {MOST_KEPT:,} bytes of answers to one {command.name}")
            return
        command.kept.append(response)

    def _tagged(self, text: bytes) -> None:
        tag, _, rest = text.partition(b" ")
        self._unasked = 0
        if not self.greeting.done():
            self.fail(f"this is no IMAP server: it began with {printable(text, 60)!r}")
            return
        command = self._commands.pop(tag, None)
        if command is None:
            if _ANSWER.match(rest):
                # Bytes of ours were taken for commands: the session can't be trusted (B33).
                self.fail("an answer to a command that was never given")
            elif _NO_IMAP.match(text):
                self.fail(f"the server said {printable(text)}")
            return
        status = status_of(rest)
        if not command.answer.done():
            command.answer.set_result(status)
        if command.continuation is not None and not command.continuation.done():
            command.continuation.cancel()
        if command.name == "IDLE":
            self._idle = None if command is self._idle else self._idle
            self.heard(None, "IDLE-ENDED", Response((text,)))

    # ------------------------------------------------------------------ sending

    async def execute(
        self,
        name: str,
        *arguments: Argument,
        wants: Sequence[str] = (),
        take: Callable[[Response], None] | None = None,
        timeout: float = COMMAND_TIMEOUT,
        answers: Callable[[bytes], bytes] | None = None,
    ) -> Reply:
        """Send a command and await its tagged answer. `wants`: names of untagged responses to
        collect, or to hand to `take` as they come. `timeout`: seconds without a single byte from
        the server. `answers`: what to reply to a `+` that asks for more (AUTHENTICATE).

        Raises ConnectionLost; a NO or BAD is an answer like any other.
        """
        command = await self._send(name, arguments, wants, take, timeout, asks=answers is not None)
        try:
            while answers is not None:
                await self._await(command, command.continuation, timeout)
                if command.continuation is None or command.continuation.cancelled():
                    break
                challenge = command.continuation.result()
                command.continuation = asyncio.get_running_loop().create_future()
                self._write(answers(challenge) + b"\r\n")
            await self._await(command, command.answer, timeout)
        except asyncio.CancelledError:
            if name in _ABORTING:
                self.fail(f"{name} was cancelled")
            raise
        return Reply(command.answer.result(), tuple(command.kept))

    async def _send(
        self,
        name: str,
        arguments: Sequence[Argument],
        wants: Sequence[str],
        take: Callable[[Response], None] | None,
        timeout: float,
        *,
        asks: bool = False,
    ) -> _Command:
        """Put a command on the wire, whole; returns when its last byte is with the transport."""
        self._check(name, arguments)
        async with self._sending:
            if self.lost is not None:
                raise ConnectionLost(str(self.lost))
            command = self._register(name, wants, take)
            if asks:
                command.continuation = asyncio.get_running_loop().create_future()
            try:
                await self._write_command(command, name, arguments, timeout)
            except asyncio.CancelledError:
                self.fail(f"{name} was cancelled half-way")
                raise
        return command

    def _check(self, name: str, arguments: Sequence[Argument]) -> None:
        """The table of commands, the allow-list, and no line end inside an argument."""
        verb = name.split(" ", 1)[0]
        if self.allowed is not None and name not in self.allowed:
            raise AssertionError(f"{name} is not among the commands that may be sent to {self.where}")
        known = Commands.get(verb)
        legal = (self.state in known.valid_states) if known else verb in ("EXAMINE", "UNSELECT")
        if not legal:
            raise AssertionError(f"{name} is not legal in state {self.state}")
        if any(isinstance(one, str) and CONTROL_CHARS.search(one) for one in arguments):
            raise AssertionError(f"a line end inside an argument of {name}")

    def _register(self, name: str, wants: Sequence[str], take: Callable[[Response], None] | None) -> _Command:
        self._number += 1
        tag = self._prefix + b"%d" % self._number
        answer: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        command = _Command(tag, name, frozenset(wants), take, answer)
        self._commands[tag] = command
        return command

    async def _write_command(
        self, command: _Command, name: str, arguments: Sequence[Argument], timeout: float
    ) -> None:
        out = bytearray()
        if self._idle is not None:
            out += b"DONE\r\n"  # in the same flight: RFC 2177 ends IDLE with this line
            self._idle = None
        out += command.tag + b" " + name.encode("ascii")
        for argument in arguments:
            out += b" "
            if isinstance(argument, str):
                out += argument.encode("utf-8")
                continue
            plus = b"" if argument.synchronising else b"+"
            out += b"{%d%s}\r\n" % (len(argument.octets), plus)
            if argument.synchronising:
                self._write(bytes(out))
                out.clear()
                if not await self._may_go_on(command, timeout):
                    return
            if not await self._write_literal(command, out, argument.octets):
                return
            out.clear()
        self._write(bytes(out) + b"\r\n")

    async def _may_go_on(self, command: _Command, timeout: float) -> bool:
        """Whether the server said `+`; if it refused, the literal is not sent (B29)."""
        command.continuation = asyncio.get_running_loop().create_future()
        await self._await(command, command.continuation, timeout)
        return not command.continuation.cancelled()

    async def _write_literal(self, command: _Command, before: bytearray, octets: bytes) -> bool:
        """In chunks, as fast as the line takes them. False if the server answered meanwhile to a
        literal that it was not asked about: the rest must still go out, or the line is lost."""
        pieces = range(0, max(len(octets), 1), CHUNK)
        for start in pieces:
            await self._drain(command)
            chunk = octets[start : start + CHUNK]
            if start + CHUNK >= len(octets):
                command.sent = Sent.EVERYTHING
            self._write(bytes(before) + chunk if before else chunk)
            before.clear()
        return True

    async def _drain(self, command: _Command) -> None:
        if not self._writable.is_set():
            try:
                async with asyncio.timeout(COMMAND_TIMEOUT):
                    await self._writable.wait()
            except TimeoutError:
                self.fail(f"nothing of {command.name} could be sent for {COMMAND_TIMEOUT:.0f} s")
        if self.lost is not None:
            raise ConnectionLost(str(self.lost), command.sent)

    def _write(self, octets: bytes) -> None:
        if self._transport is not None and self.lost is None:
            self._transport.write(octets)

    async def _await(
        self, command: _Command, future: asyncio.Future[Status] | asyncio.Future[bytes] | None, seconds: float
    ) -> None:
        """Until the future is done. The deadline starts again with every byte received."""
        assert future is not None  # noqa: S101 - for the type
        loop = asyncio.get_running_loop()
        since = loop.time()
        while not future.done():
            left = max(since, self._last_byte) + seconds - loop.time()
            if left <= 0:
                self.fail(f"no answer to {command.name} for {seconds:.0f} s")
                break
            await asyncio.wait([future], timeout=left)
        if not future.cancelled() and (error := future.exception()):
            raise ConnectionLost(str(error), command.sent)

    # --------------------------------------------------------------------- idle

    @property
    def idling(self) -> bool:
        return self._idle is not None

    @property
    def busy(self) -> bool:
        """Whether any command but IDLE awaits its answer."""
        return any(command is not self._idle for command in self._commands.values())

    async def start_idle(self) -> bool:
        """Enter IDLE; False if the server will not. The next command ends it by itself."""
        self._check("IDLE", ())
        async with self._sending:
            if self.lost is not None:
                raise ConnectionLost(str(self.lost))
            if self._idle is not None:
                return True
            command = self._register("IDLE", (), None)
            try:
                self._write(command.tag + b" IDLE\r\n")
                accepted = await self._may_go_on(command, COMMAND_TIMEOUT)
            except asyncio.CancelledError:
                self.fail("IDLE was cancelled half-way")
                raise
            if accepted:
                self._idle = command
            return accepted


async def connect(endpoint: Endpoint, tls: ssl.SSLContext | None, *, max_literal: int) -> Connection:
    """Connect and await the greeting. Raises Transient and its kind."""
    where = f"{endpoint.host}:{endpoint.port}"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, connection = await loop.create_connection(
                lambda: Connection(where, max_literal=max_literal), endpoint.host, endpoint.port, ssl=tls
            )
    except (OSError, TimeoutError) as error:
        raise unreachable(where, error) from error
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await asyncio.wait([connection.greeting])
    except TimeoutError:
        connection.fail(f"no greeting within {CONNECT_TIMEOUT:.0f} s")
    except asyncio.CancelledError:
        connection.fail("cancelled")
        raise
    if (failure := connection.greeting.exception()) is not None:
        raise failure
    return connection
