"""The faults of a soak: each strikes at random, at a background rate, for as long as it lasts."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from faults.nursery import Daemon
from faults.post import Post
from mailsyncd.ports import Clock
from mailsyncd.sim import Act, Fault, GmailServer, ImapServer, OutlookServer, Reply, TokenEndpoint

HOUR = 3600.0
STORE_SHARE = 0.0005  # of a daemon's requests to its store, for each of the ways in which they fail

# Of all commands, so many are struck.
AT_SOURCES = 0.002
AT_DESTINATIONS = 0.01
BYE = "Server shutting down"
SOURCE_WEATHER = (
    Fault("*", Act.DROP),
    Fault("*", Act.ANSWER_AND_DROP),
    Fault("*", Act.SILENCE),
    Fault("*", Act.BYE, BYE),
    Fault("AUTHENTICATE", Act.REFUSE, "NO [ALERT] Too many simultaneous connections. (Failure)"),
)
# Mail rightly waits for an hour after it: no fault for a short soak.
BANDWIDTH = Fault("UID FETCH", Act.REFUSE, "NO [ALERT] Account exceeded bandwidth limits. (Failure)")
DESTINATION_WEATHER = (
    Fault("*", Act.DROP),
    Fault("*", Act.BYE, BYE),
    Fault("*", Act.SILENCE),
    Fault("APPEND", Act.DROP_AFTER),
    Fault("APPEND", Act.LATE, delay=2.0),
    Fault("APPEND", Act.LATE, delay=60.0),
    Fault("APPEND", Act.REFUSE, "NO Server error"),
    Fault("APPEND", Act.REFUSE, "NO [OVERQUOTA] Mailbox is full"),
    Fault("APPEND", Act.REFUSE, "NO Request is throttled. Suggested Backoff Time: 20000 milliseconds"),
    Fault("APPEND", Act.REFUSE_AFTER, "NO Server error"),
    Fault("APPEND", Act.REFUSE_AFTER, "BAD Command Error. 12"),
    Fault("APPEND", Act.REFUSE_AFTER, "OK [APPENDUID 1 999999] done"),
)


class Scene(Protocol):
    """What the faults strike."""

    clock: Clock
    directory: Path
    gmail: GmailServer
    outlook: OutlookServer
    tokens: TokenEndpoint
    post: Post

    @property
    def elder(self) -> Daemon: ...

    async def new_younger(self, clock_offset: float) -> Daemon: ...


@dataclass(eq=False)
class Background:
    """Each kind of fault comes by itself, `_RATES` times an hour or as many times more as it is harsh.
    `struck` counts them by kind."""

    scene: Scene
    rng: Random
    harshness: float
    hour_long_pauses: bool
    struck: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Until it is cancelled; what was begun is then ended."""
        scene = self.scene
        sources = (*SOURCE_WEATHER, BANDWIDTH) if self.hour_long_pauses else SOURCE_WEATHER
        scene.gmail.weather(self.rng.randrange(1 << 30), AT_SOURCES * self.harshness, *sources)
        rate = AT_DESTINATIONS * self.harshness
        scene.outlook.weather(self.rng.randrange(1 << 30), rate, *DESTINATION_WEATHER)
        self._count(scene.gmail)
        self._count(scene.outlook)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._younger())
                for act, rate in _RATES.items():
                    group.create_task(self._again_and_again(act, rate))
        finally:
            scene.gmail.clear_faults()
            scene.outlook.clear_faults()

    def _count(self, server: ImapServer) -> None:
        """Have the server's weather counted too."""
        strike = server.backend.script.strike

        def counted(command: str, user: str | None) -> Fault | None:
            fault = strike(command, user)
            if fault is not None:
                self.struck[fault.act.name.lower()] += 1
            return fault

        server.backend.script.strike = counted  # type: ignore[method-assign]

    async def _again_and_again(self, act: Strike, rate: float) -> None:
        while True:
            await self.scene.clock.sleep(self.rng.expovariate(rate * self.harshness / HOUR))
            self.struck[act.__name__.strip("_")] += 1
            await act(self)

    async def _younger(self) -> None:
        """A second daemon comes, takes its share, and is killed or told to stop; by its clock it is
        an hour earlier or later."""
        while True:
            daemon = await self.scene.new_younger(self.rng.choice((0.0, 0.0, HOUR, -HOUR)))
            try:
                await self.scene.clock.sleep(self.rng.uniform(300.0, 2400.0) / self.harshness)
            finally:
                how = "kill" if self.rng.random() < 0.7 else "stop"
                self.struck[how] += 1
                if how == "kill":
                    await daemon.kill()
                else:
                    daemon.signal(signal.SIGTERM)
                    await daemon.ended.wait()
            await self.scene.clock.sleep(self.rng.uniform(60.0, 900.0))

    # ------------------------------------------------------------ at either side

    def _server(self) -> tuple[ImapServer, str]:
        if self.rng.random() < 0.6:
            return self.scene.gmail, self._somebody()
        return self.scene.outlook, self._some_folder()[0]

    def _somebody(self) -> str:
        return self.rng.choice(list(self.scene.post.folders))

    def _some_folder(self) -> tuple[str, str]:
        return self.scene.post.folders[self._somebody()]

    async def _cut(self) -> None:
        """In the middle of whatever is said next."""
        server, user = self._server()
        where = "received" if self.rng.random() < 0.5 else "sent"
        server.cut(user, **{where: self.rng.randrange(1, 6000)})

    async def _dropped(self) -> None:
        server, user = self._server()
        server.drop_all(user)

    async def _expired(self) -> None:
        server, user = self._server()
        self.scene.tokens.expire(user)
        await server.expire_sessions(user)

    async def _silent(self) -> None:
        """Half-open for a while; then it goes on with what it was sent before. A destination does so
        within the settle window, which is what the guarantee takes for granted."""
        server, user = self._server()
        server.fall_silent(user)
        await self.scene.clock.sleep(self.rng.uniform(20.0, 600.0 if server is self.scene.gmail else 80.0))
        server.speak()

    async def _turned_away(self) -> None:
        server, user = self._server()
        server.turns_away = True
        server.drop_all(user)
        await self.scene.clock.sleep(self.rng.uniform(10.0, 120.0))
        server.turns_away = False

    async def _tokens_fail(self) -> None:
        bad = (
            Reply(500, "oops"),
            Reply(429, {"error": "slow_down"}, {"Retry-After": "20"}),
            Reply(200, "<p>"),
        )
        self.scene.tokens.answer_next(*self.rng.choices(bad, k=2))

    # ------------------------------------------------------------------- mailboxes

    async def _source_renumbered(self) -> None:
        self.scene.gmail.renumber(self._somebody())

    async def _folder_renumbered(self) -> None:
        user, folder = self._some_folder()
        if self.scene.outlook.messages(user, folder):
            self.scene.outlook.renumber(user, folder, first_uid=self.rng.randrange(1, 1000))

    async def _back_in_inbox(self) -> None:
        """Out of INBOX, and in again under another UID."""
        user = self._somebody()
        if there := self.scene.gmail.messages(user):
            msgid = self.scene.gmail.archive(user, self.rng.choice(there).uid)
            self.scene.gmail.return_to_inbox(user, msgid)

    # ----------------------------------------------------------------- the daemons

    async def _state_locked(self) -> None:
        """Another process keeps the SQLite file locked."""
        other = sqlite3.connect(self.scene.directory / "state.db", timeout=2, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            await self.scene.clock.sleep(self.rng.uniform(1.0, 90.0))
        finally:
            other.close()

    async def _reload(self) -> None:
        self.scene.elder.signal(signal.SIGHUP)

    async def _frozen(self) -> None:
        """For a while, or past its lease; meanwhile the other one has its destinations, if there is one."""
        self.scene.elder.signal(signal.SIGSTOP)
        try:
            await self.scene.clock.sleep(self.rng.uniform(5.0, 200.0))
        finally:
            self.scene.elder.signal(signal.SIGCONT)


Strike = Callable[[Background], Awaitable[None]]
_RATES: dict[Strike, float] = {
    Background._cut: 4.0,
    Background._dropped: 2.0,
    Background._expired: 1.0,
    Background._silent: 0.5,
    Background._turned_away: 0.3,
    Background._tokens_fail: 0.5,
    Background._source_renumbered: 0.3,
    Background._folder_renumbered: 0.3,
    Background._back_in_inbox: 1.0,
    Background._state_locked: 0.5,
    Background._reload: 0.5,
    Background._frozen: 0.3,
}
