"""One IMAP connection: reads a command, lets faults strike, has it carried out, answers (RFC 3501).

What the commands do is in signin.py, folders.py, append.py and messages.py; this file is the loop
and the states.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from mailsyncd.sim.backend import Backend
from mailsyncd.sim.channel import Channel, Cut
from mailsyncd.sim.faults import Act, Fault
from mailsyncd.sim.mailstore import Account, NoSuchMailbox, StoredMailbox
from mailsyncd.sim.personality import Literals
from mailsyncd.sim.view import MailboxView
from mailsyncd.sim.wire import Announced, BadSyntax, Cursor, announced, without_literals

_SIGN_IN_SECONDS = 60.0  # Exchange's default (B54)
_AUTOLOGOUT_SECONDS = 1800.0  # RFC 3501 5.4 wants no less
_LARGEST_LITERAL = 200 * 1024 * 1024
_LARGEST_BEFORE_SIGN_IN = 8192
_LITERAL_MINUS = 4096  # RFC 7888 5


class State(Enum):
    GREETED = auto()
    SIGNED_IN = auto()
    SELECTED = auto()
    OVER = auto()


ANY = frozenset({State.GREETED, State.SIGNED_IN, State.SELECTED})
AFTER_SIGN_IN = frozenset({State.SIGNED_IN, State.SELECTED})
WITH_MAILBOX = frozenset({State.SELECTED})


class Refused(Exception):
    """A command's own NO or BAD, as the text of its tagged answer."""


Handler = Callable[["Session", Cursor], Awaitable[str]]
Admission = Callable[["Session", bytes, int], None]
Late = Callable[[Backend, Account, bytes], None]


@dataclass(frozen=True, slots=True)
class Command:
    """How a command is carried out, where it is allowed, and what may refuse its literal early."""

    run: Handler
    states: frozenset[State]
    admit: Admission | None = None
    late: Late | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A command's tag, its name (UID commands as "UID FETCH") and what follows."""

    tag: str
    name: str
    arguments: bytes


class Session:
    """The state of one connection."""

    def __init__(
        self, number: int, backend: Backend, channel: Channel, commands: Mapping[str, Command]
    ) -> None:
        self.number = number
        self.backend = backend
        self.personality = backend.personality
        self.words = backend.personality.words
        self.channel = channel
        self.state = State.GREETED
        self.account: Account | None = None
        self.view: MailboxView | None = None
        self._commands = commands
        self._errors = 0
        self._expiry = asyncio.timeout(_SIGN_IN_SECONDS)

    # --------------------------------------------------------------- the loop

    async def run(self) -> None:
        try:
            async with self._expiry:
                await self.send(f"* OK {self.words.greeting}")
                while self.state is not State.OVER:
                    await self._one_command()
            await self.channel.close()
        except Cut:
            self.channel.abort()
        except TimeoutError:
            await self.bye(self.words.expired)
        finally:
            self.deselect()
            if self.account is not None:
                self.account.connections -= 1

    async def bye(self, text: str) -> None:
        """Say BYE and hang up. Never raises."""
        self.state = State.OVER
        try:
            await self.channel.send(f"* BYE {text}\r\n".encode())
            await self.channel.close()
        except Cut:
            self.channel.abort()

    async def _one_command(self) -> None:
        try:
            async with asyncio.timeout(_AUTOLOGOUT_SECONDS):
                line = await self.channel.line(self.personality.max_command_line)
        except BadSyntax:
            await self._reply("*", self.words.unknown)
            return
        request = _request(line)
        if request is None:
            self.channel.note(line[:40].decode("latin-1"))
            await self._reply(line.split(b" ")[0][:40].decode("latin-1") or "*", self.words.unknown)
            return
        fault = self.backend.script.strike(request.name, self.account.user if self.account else None)
        if fault is not None and await self._was_struck_before(fault, request, line):
            return
        try:
            async with asyncio.timeout(_AUTOLOGOUT_SECONDS):
                arguments = await self._arguments(request, line)
        except BadSyntax as error:
            await self._reply(request.tag, f"BAD {error}")
            return
        if arguments is not None:
            await self._carry_out(request, arguments, fault)

    async def _carry_out(self, request: Request, arguments: bytes, fault: Fault | None) -> None:
        if fault is not None and fault.act is Act.PRETEND:
            await self._reply(request.tag, self.words.done(request.name))
            return
        if fault is not None and fault.act is Act.LATE:
            self._carry_out_late(request, arguments, fault.delay)
            raise Cut
        text = await self._outcome(request, arguments)
        if fault is not None and fault.act is Act.DROP_AFTER:
            raise Cut
        if fault is not None and fault.act is Act.REFUSE_AFTER:
            text = fault.text
        if fault is not None and fault.act is Act.ANNOTATE:
            text += fault.text
        await self._tell_news(expunges=request.name not in ("FETCH", "STORE", "SEARCH"))
        await self._reply(request.tag, text)
        if fault is not None and fault.act is Act.ANSWER_AND_DROP:
            self.state = State.OVER

    async def _outcome(self, request: Request, arguments: bytes) -> str:
        """The text of the tagged answer."""
        command = self._commands.get(request.name)
        if command is None or self.state not in command.states:
            return self.words.unknown
        try:
            return await command.run(self, Cursor(arguments))
        except Refused as refused:
            return str(refused)
        except BadSyntax as error:
            return f"BAD {error}"
        except NoSuchMailbox as error:
            return f"NO {self.words.no_mailbox(str(error))}"

    def _carry_out_late(self, request: Request, arguments: bytes, delay: float) -> None:
        """A server may still be committing when its connection is long gone (B42)."""
        late, account = self._commands[request.name].late, self.account
        if late is not None and account is not None:
            self.backend.later(delay, lambda: late(self.backend, account, arguments))

    # ------------------------------------------------------------ the faults

    async def _was_struck_before(self, fault: Fault, request: Request, line: bytes) -> bool:
        """Faults that keep the command from being carried out. True if this one did."""
        match fault.act:
            case Act.REFUSE:
                self.channel.note(_shown(request, line))
                await self._refuse_literal(request, announced(line), fault.text)
            case Act.BYE:
                self.channel.note(_shown(request, line))
                await self.bye(fault.text)
            case Act.DROP:
                self.channel.note(_shown(request, line))
                raise Cut
            case Act.SILENCE:
                self.channel.note(_shown(request, line))
                self.channel.fall_silent()
                with suppress(BadSyntax):
                    await self.channel.line(0)
                raise Cut  # made to speak again, it has nothing more to say
            case _:
                return False
        return True

    # ---------------------------------------------------------- the literals

    async def _arguments(self, request: Request, line: bytes) -> bytes | None:
        """All of the command, its literals read; None if it was refused on the way."""
        arguments = bytearray(request.arguments)
        found = announced(line)
        while found is not None:
            refusal = self._refusal(request, bytes(arguments), found)
            if refusal is not None:
                self.channel.note(_shown(request, line))
                await self._refuse_literal(request, found, refusal)
                return None
            if found.waits:
                await self.send("+ Ready for additional command text.")
            data = await self.channel.literal(found.size)
            line = await self.channel.line(self.personality.max_command_line)
            arguments += b"\r\n" + data + line
            found = announced(line)
        self.channel.note(_shown(request, bytes(arguments), whole=True))
        return bytes(arguments)

    def _refusal(self, request: Request, so_far: bytes, found: Announced) -> str | None:
        """Why this literal is not wanted; None if it is."""
        largest = _LARGEST_BEFORE_SIGN_IN if self.state is State.GREETED else _LARGEST_LITERAL
        if found.size > largest or not self._may_come_unasked(found):
            return self.words.bad_literal
        command = self._commands.get(request.name)
        if command is None or self.state not in command.states:
            return self.words.unknown
        if command.admit is None:
            return None
        try:
            command.admit(self, so_far, found.size)
        except Refused as refused:
            return str(refused)
        return None

    def _may_come_unasked(self, found: Announced) -> bool:
        match self.personality.literals:
            case Literals.PLUS:
                return True
            case Literals.MINUS:
                return found.waits or found.size <= _LITERAL_MINUS
            case Literals.SYNCHRONISING:
                return found.waits

    async def _refuse_literal(self, request: Request, found: Announced | None, text: str) -> None:
        """Answer instead of `+`. A body that is on its way all the same is skipped (RFC 7888 4), or
        else read as commands: what some servers do, and why clients must not trust them (B33)."""
        if found is not None and not found.waits and self.personality.literals_after_refusal:
            await self.channel.discard(found.size)
            await self.channel.line(self.personality.max_command_line)
        await self._reply(request.tag, text)

    # ----------------------------------------------------- for the commands

    async def send(self, *lines: str) -> None:
        if lines:
            await self.channel.send("".join(f"{line}\r\n" for line in lines).encode("latin-1", "replace"))

    def signed_in(self) -> Account:
        if self.account is None:
            raise Refused(self.words.unknown)
        return self.account

    def selected(self) -> MailboxView:
        if self.view is None:
            raise Refused(self.words.unknown)
        return self.view

    def sign_in(self, account: Account, seconds: float | None) -> None:
        """From here on the session lasts as long as its token, or as the server likes (A15, B7)."""
        self.account = account
        account.connections += 1
        self.state = State.SIGNED_IN
        bounds = [self.backend.session_seconds(), seconds if self.personality.ends_with_token else None]
        shortest = min((bound for bound in bounds if bound is not None), default=None)
        now = asyncio.get_running_loop().time()
        self._expiry.reschedule(None if shortest is None else now + shortest)

    def select(self, mailbox: StoredMailbox, *, read_only: bool) -> MailboxView:
        self.view = MailboxView(mailbox, read_only=read_only)
        self.state = State.SELECTED
        return self.view

    def deselect(self) -> None:
        if self.view is not None:
            self.view.close()
            self.view = None
        if self.state is State.SELECTED:
            self.state = State.SIGNED_IN

    async def idle_line(self) -> bytes:
        """The client's next line; what happens to the mailbox meanwhile is pushed at once."""
        reading = asyncio.create_task(self.channel.line(self.personality.max_command_line))
        try:
            async with asyncio.timeout(_AUTOLOGOUT_SECONDS):
                while not reading.done():
                    await self._tell_news(expunges=True)
                    await self._changed_or(reading)
            return await reading
        finally:
            await _ended(reading)

    async def _changed_or(self, reading: asyncio.Task[bytes]) -> None:
        """Return when the line is there, or when the mailbox may have changed."""
        if self.view is None:
            await asyncio.wait({reading})
            return
        waking = asyncio.create_task(self.view.changed.wait())
        try:
            await asyncio.wait({reading, waking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(waking)

    async def _tell_news(self, *, expunges: bool) -> None:
        if self.view is not None and self.view.changed.is_set():
            await self.send(*self.view.news(expunges=expunges))

    async def _reply(self, tag: str, text: str) -> None:
        """The tagged answer; a server that has seen too many errors then hangs up (B39)."""
        await self.send(f"{tag} {text}")
        self._errors += not text.startswith("OK")
        limit = self.personality.max_errors
        if limit is not None and self._errors >= limit:
            await self.bye(self.words.hang_up)


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is over; what came of it is of no interest any more."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _request(line: bytes) -> Request | None:
    tag, _, rest = line.partition(b" ")
    name, _, arguments = rest.partition(b" ")
    if name.upper() == b"UID":
        second, _, arguments = arguments.partition(b" ")
        name = b"UID " + second
    plain = tag + name.replace(b" ", b"")
    if not tag or not name or not plain.isascii() or b"{" in tag:
        return None
    return Request(tag.decode(), name.decode().upper(), arguments)


def _shown(request: Request, text: bytes, *, whole: bool = False) -> str:
    """The command for the transcript: no passwords, no tokens, no literals."""
    if request.name in ("AUTHENTICATE", "LOGIN"):
        mechanism = request.arguments.split(b" ")[0].decode("latin-1")
        return f"{request.tag} {request.name} {mechanism if request.name == 'AUTHENTICATE' else ''} ***"
    arguments = without_literals(text if whole else request.arguments)
    return f"{request.tag} {request.name} {arguments}".rstrip()
