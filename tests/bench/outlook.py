"""The simulated Outlook.com as a process of its own, so that the source need not wait for its work, and the
handle on it. Commands and answers are lines; between them it tells when new mail was stored."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from bench.tls import serving
from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import OUTLOOK, OutlookServer
from mailsyncd.sim.mailstore import StoredMailbox

USER = "dst"
PASSWORD = "pw"
TESTS = Path(__file__).parents[1]
SECONDS = 30.0  # that the process may take for anything
SUBJECT = b"Subject: "

Arrived = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """The messages of a folder, and the connections of the server."""

    copies: int
    accepted: int
    most_at_once: int


class Outlook:
    """The handle on a running one."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        assert process.stdin
        assert process.stdout
        self.port = port
        self._to, self._from = process.stdin, process.stdout
        self._answers: asyncio.Queue[Seen] = asyncio.Queue()
        self._arrived: Arrived | None = None
        self._ending = False  # the pipe's own is_closing() is true as well when the other end has died

    @classmethod
    @asynccontextmanager
    async def running(cls, certificate: Path | None) -> AsyncIterator[Self]:
        """It lasts as long as the block, which ends at once if it breaks down."""
        options = ["--certificate", str(certificate)] if certificate else []
        program = [sys.executable, "-m", "bench.outlook", *options]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*program, cwd=TESTS, stdin=pipe, stdout=pipe)
        try:
            assert process.stdout
            async with asyncio.timeout(SECONDS):
                made = cls(process, int(await process.stdout.readline()))
            async with asyncio.TaskGroup() as reading:
                reading.create_task(made._read())
                yield made
                made._end()
                async with asyncio.timeout(SECONDS):
                    if status := await process.wait():
                        raise RuntimeError(f"the simulated destination ended with {status}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def create(self, folder: str) -> None:
        await self._ask("create", folder)

    async def watch(self, folders: Iterable[str], arrived: Arrived) -> None:
        """From now on `arrived` hears of each copy in them: its number, and when it was stored."""
        self._arrived = arrived
        for folder in folders:
            await self._ask("watch", folder)

    async def seen(self, folder: str = "INBOX") -> Seen:
        return await self._ask("count", folder)

    def _end(self) -> None:
        self._ending = True
        self._to.close()

    async def _ask(self, command: str, folder: str) -> Seen:
        async with asyncio.timeout(SECONDS):
            self._to.write(f"{command} {folder}\n".encode())
            await self._to.drain()
            return await self._answers.get()

    async def _read(self) -> None:
        async for line in self._from:
            match json.loads(line):
                case [number, moment]:
                    assert self._arrived
                    self._arrived(number, moment)
                case answer:
                    self._answers.put_nowait(Seen(**answer))
        if not self._ending:
            raise RuntimeError("the simulated destination broke down")


# ------------------------------------------------------------------ the process


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


def _watch(folder: StoredMailbox) -> None:
    """Say when each message was stored, by the number that is its subject. No body leaves the process;
    time.monotonic() is one clock for all of them."""

    def stored(uid: int) -> None:
        moment = time.monotonic()
        if copy := folder.find(uid):
            _say((int(copy.raw[len(SUBJECT) : copy.raw.index(b"\r")]), moment))

    folder.watchers.add(stored)


async def _serve(certificate: Path | None) -> None:
    """As Dovecot does, it honours LITERAL+ even where it refuses."""
    async with OutlookServer(
        SystemClock(),
        passwords={USER: PASSWORD},
        tls=serving(certificate) if certificate else None,
        personality=replace(OUTLOOK, literals_after_refusal=True),
    ) as server:
        _say(server.port)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, _, folder = line.rstrip("\n").partition(" ")
            if command == "create":
                server.account(USER).create(folder)
            elif command == "watch":
                _watch(server.mailbox(USER, folder))
            copies = len(server.messages(USER, folder))
            _say(asdict(Seen(copies, server.accepted, server.most_at_once)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--certificate", type=Path, help="file; without it there is no TLS")
    gc.disable()  # as for the source: it would look through all copies, again and again
    asyncio.run(_serve(parser.parse_args().certificate))
