"""A world for the daemon to live and die in: simulated servers, its configuration, and the judge.

Everything in it follows from a seed. Times in the daemon's configuration are its own seconds,
which pass `speed` times as fast as those of the world.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from faults import dynamo
from faults.child import Orders
from faults.nursery import Daemon, Nursery
from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import GMAIL, OUTLOOK, GmailServer, OutlookServer, Personality, TokenEndpoint
from mailsyncd.sim.corpus import Mail, corpus
from mailsyncd.sim.mailstore import StoredMessage
from mailsyncd.sim.verdict import foreign_commands

ME = "me@outlook.example"
SPEED = 30.0
SETTLE = 90.0  # the daemon's seconds
QUIET_SECONDS = 60.0  # of the world: whatever is not settled by then is lost
AWS = {"AWS_ACCESS_KEY_ID": "faults", "AWS_SECRET_ACCESS_KEY": "faults"}
KINDS = 11  # of mail, in the corpus
MARK = re.compile(rb"(?m)^X-Fault-Case: (\S+)\r$")


@dataclass(frozen=True, slots=True)
class Ground:
    """What a world is made of."""

    routes: int = 1
    speed: float = SPEED
    gmail: Personality = GMAIL
    outlook: Personality = OUTLOOK
    outlook_keys: str = ""
    daemon_keys: str = ""
    state_keys: str = ""
    route_keys: str = ""
    one_folder: bool = False
    dynamo: bool = False
    token_life: float = 3599.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What the judge saw. Clean if all is zero and there is no complaint."""

    delivered: int
    lost: int
    duplicated: int
    altered: int
    failed: int
    complaints: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.altered or self.complaints)


@dataclass(eq=False)
class World:
    ground: Ground
    directory: Path
    nursery: Nursery
    rng: Random
    gmail: GmailServer
    outlook: OutlookServer
    tokens: TokenEndpoint
    line: dynamo.Line | None = None
    sent: dict[str, list[StoredMessage]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    daemons: list[Daemon] = field(default_factory=list)
    worst_recovery: float = 0.0  # the daemon's seconds from the last start to quiet
    expected_failures: int = 0
    judged: bool = True
    objection: Callable[[bytes], str | None] | None = None  # of the destination, to a body
    _number: int = 0
    _mail: dict[int, Mail] = field(default_factory=dict)
    _started: float = 0.0
    _state: sqlite3.Connection | None = None

    # ------------------------------------------------------------------ the mail

    @property
    def users(self) -> list[str]:
        return [f"user{n + 1}@gmail.example" for n in range(self.ground.routes)]

    def folder(self, user: str) -> str:
        return "Gmail/all" if self.ground.one_folder else "Gmail/" + user.partition("@")[0]

    def mail(self, size: int = 0, *, fresh: bool = False) -> Mail:
        """The next message: of the corpus, with a mark that no rewriting takes away. It claims to
        have come just now, as `fresh` mail and every other message does, or long ago. `size`, in
        bytes, is kept to where the header leaves room."""
        self._number += 1
        base = self.rng.choice(list(corpus(self.rng.randrange(1 << 30), KINDS)))
        head, _, body = base.raw.partition(b"\r\n\r\n")
        raw = head + b"\r\nX-Fault-Case: %d\r\n\r\n" % self._number + body
        if size:
            raw = (raw + (b"%075d\r\n" % self._number) * (size // 77))[: max(size, len(raw) - len(body))]
        now = datetime.now(UTC).replace(microsecond=0)
        return Mail(raw, now if fresh or self.rng.random() < 0.5 else base.internaldate)

    def deliver(self, user: str, mail: Mail | None = None, *, size: int = 0) -> StoredMessage:
        """A message arrives at a route's source, and is to arrive at its destination."""
        mail = mail or self.mail(size)
        uid = self.gmail.deliver(user, mail.raw, internaldate=mail.internaldate)
        stored = self.gmail.mailbox(user).find(uid)
        assert stored is not None
        self.sent.setdefault(user, []).append(stored)
        return stored

    def deliver_all(self, count: int, *, size: int = 0) -> None:
        """So many to every route."""
        for _ in range(count):
            for user in self.users:
                self.deliver(user, size=size)

    def copies(self, folder: str) -> list[StoredMessage]:
        return self.outlook.messages(ME, folder)

    @property
    def copied(self) -> int:
        return sum(len(self.copies(folder)) for folder in {self.folder(user) for user in self.users})

    @property
    def delivered(self) -> int:
        return sum(map(len, self.sent.values()))

    # ---------------------------------------------------------------- the daemon

    def configure(self, **more: str) -> Path:
        """Write config.toml. `more`: daemon, state, outlook, routes: lines of their own."""
        ground = self.ground
        google, microsoft = self.tokens.google_url, self.tokens.microsoft_url
        text = f"""
[daemon]
socket = "d.sock"
log_format = "json"
log_level = "debug"
{more.get("daemon", ground.daemon_keys)}
[http]
listen = "off"
[state]
{self.line.settings() if self.line else 'path = "state.db"'}
{more.get("state", ground.state_keys)}
[outlook]
email = "{ME}"
{self._server(self.outlook.port, self._grant(ME, "microsoft"), microsoft)}
{more.get("outlook", ground.outlook_keys)}
"""
        for user in self.users:
            text += f"""
[[routes]]
gmail = "{user}"
folder = "{self.folder(user)}"
start = "all"
client_secret = "demo"
{self._server(self.gmail.port, self._grant(user, "google"), google)}
{more.get("routes", ground.route_keys)}
"""
        path = self.directory / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def _grant(self, user: str, provider: str) -> str:
        known = self.directory / f"{user}.token"
        if not known.exists():
            known.write_text(self.tokens.grant(user, provider))
        return known.read_text()

    def _server(self, port: int, token: str, url: str) -> str:
        return (
            f'host = "127.0.0.1"\nport = {port}\ntls = false\nclient_id = "demo"\n'
            f'refresh_token = "{token}"\ntoken_url = "{url}"'
        )

    async def start(
        self,
        die_at: str | None = None,
        nth: int = 1,
        *,
        clock_offset: float = 0.0,
        command: str = "run",
        second: bool = False,
    ) -> Daemon:
        """One more life. `die_at`: the step at whose `nth` passing it is killed. `second`: beside
        another one, as if on another machine."""
        path = self.directory / "config.toml"
        if second:
            text = path.read_text().replace('"d.sock"', '"second.sock"')
            path = self.directory / "second.toml"
            path.write_text(text)
            path.chmod(0o600)
        orders = Orders(
            arguments=[*command.split(), "--config", str(path)],
            environ={"HOME": str(self.directory), "PATH": os.environ["PATH"], **AWS},
            output=str(self.directory / "log"),
            die_at=die_at,
            nth=nth,
            speed=self.ground.speed,
            clock_offset=clock_offset,
        )
        daemon = await self.nursery.birth(orders)
        self.daemons.append(daemon)
        self._started = time.monotonic()
        return daemon

    async def until(self, what: Callable[[], bool], seconds: float = 20.0, *, why: str = "") -> bool:
        """Wait, looking often; False, and a complaint if `why` is given, if it does not come to pass."""
        ends = time.monotonic() + seconds
        while not what():
            if time.monotonic() > ends:
                if why:
                    self.complaints.append(f"waited {seconds:.0f} s in vain for {why}")
                return False
            await asyncio.sleep(0.01)
        return True

    async def death(self, daemon: Daemon, seconds: float = 20.0) -> bool:
        """Wait for its end, and look at what it left; False if it lives on."""
        try:
            async with asyncio.timeout(seconds):
                await daemon.ended.wait()
        except TimeoutError:
            return False
        self.look_at_state()
        return True

    async def idle(self, seconds: float = 20.0, *, since: int = 0) -> None:
        """Until every route idles; `since`: counting from this line of the source's transcript."""
        await self.until(
            lambda: (
                sum(" IDLE" in line.text for line in self.gmail.transcript[since:] if line.side == "C")
                >= self.ground.routes
            ),
            seconds,
            why="IDLE",
        )

    # ----------------------------------------------------------------- the state

    def items(self, like: str) -> list[tuple[str, dict[str, Any]]]:
        """(PK, item) of the sort keys that are like this, straight from the store."""
        if self.line is not None:
            pattern = like.rstrip("%")
            found = self.line.items()
            return [(item["PK"], item) for item in found if item["SK"].startswith(pattern)]
        path = self.directory / "state.db"
        if not path.exists():
            return []
        if self._state is None:
            self._state = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            rows = self._state.execute("SELECT pk, sk, item FROM items WHERE sk LIKE ?", (like,))
            return [(pk, json.loads(item) | {"SK": sk}) for pk, sk, item in rows]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise

    def forget_state(self) -> None:
        """Another file is to be put in its place."""
        if self._state is not None:
            self._state.close()
            self._state = None

    def witness(self, raw: bytes) -> None:
        """At the server, as it is about to store: is there a PENDING record under a held lease?"""
        if not self.judged or raw.startswith(b"mailsyncd probe"):
            return
        digest = hashlib.sha256(raw).hexdigest()
        records = self.items("UID#%")
        mine = [item for _, item in records if item["rfc822_sha256"] == digest]
        if not any(item["status"] == "PENDING" for item in mine):
            states = ", ".join(str(item["status"]) for item in mine) or "no record"
            self.complaints.append(f"APPEND without a PENDING record ({states})")
        if not any(item["owner"] for _, item in self.items("LEASE")):
            self.complaints.append("APPEND while nobody held the lease")

    def look_at_state(self) -> None:
        """The watermark is never past an unsettled UID (I6)."""
        settled = {
            (pk, item["uidvalidity"], item["uid"])
            for pk, item in self.items("UID#%") + self.items("FAIL#%")
            if item.get("status") != "PENDING"
        }
        pending = self._pending()
        known = {(pk, item["SK"].removeprefix("MSG#")) for pk, item in self.items("MSG#%")}
        for pk, mark in self.items("WATERMARK"):
            for user in self.users:
                if f"ROUTE#{user}#" in pk and mark["uidvalidity"] == self.gmail.mailbox(user).uidvalidity:
                    for message in self.gmail.messages(user):
                        key = (pk, mark["uidvalidity"], message.uid)
                        skipped = (pk, str(message.gm_msgid)) in known and key not in pending
                        if message.uid <= mark["last_uid"] and key not in settled and not skipped:
                            self.complaints.append(
                                f"the watermark {mark['last_uid']} is past UID {message.uid}"
                            )

    def _pending(self) -> set[tuple[str, int, int]]:
        found = self.items("UID#%")
        return {(pk, i["uidvalidity"], i["uid"]) for pk, i in found if i["status"] == "PENDING"}

    # ----------------------------------------------------------------- the judge

    def _left(self) -> int:
        """How many messages are neither there nor listed as a failure."""
        found = Counter(_key(copy) for user in self.users for copy in self._once(user))
        missing = Counter(_key(one) for sent in self.sent.values() for one in sent) - found
        return sum(missing.values()) - len(self._failures())

    def _once(self, user: str) -> list[StoredMessage]:
        """The copies in a route's folder; a folder that routes share is counted once."""
        first = next(one for one in self.users if self.folder(one) == self.folder(user))
        return self.copies(self.folder(user)) if first == user else []

    def _failures(self) -> list[dict[str, Any]]:
        return [item for _, item in self.items("FAIL#%") if not item.get("resolved")]

    def settled(self) -> bool:
        if self._pending() or self._left() > 0:
            return False
        marks = self.items("WATERMARK")
        for user in self.users:
            box = self.gmail.mailbox(user)
            last = max((message.uid for message in self.gmail.messages(user)), default=0)
            mine = [mark for pk, mark in marks if f"ROUTE#{user}#" in pk]
            if not any(m["uidvalidity"] == box.uidvalidity and m["last_uid"] >= last for m in mine):
                return False
        return True

    async def quiet(self, seconds: float = QUIET_SECONDS) -> None:
        """Faults stop; run until all is settled and no commit is still to come."""
        self.gmail.clear_faults()
        self.outlook.clear_faults()
        if self.line is not None:
            self.line.clear()
        began = time.monotonic()
        ends = began + seconds
        while not self.settled() and time.monotonic() < ends:  # noqa: ASYNC110 - looking is all there is
            await asyncio.sleep(0.02)
        recovery = (time.monotonic() - max(began, self._started)) * self.ground.speed
        self.worst_recovery = max(self.worst_recovery, recovery)
        while self.outlook.commits_to_come and time.monotonic() < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)

    async def end(self) -> Finding:
        """Run to quiet in a fresh life if none is left, stop it, and judge."""
        if not any(not daemon.ended.is_set() for daemon in self.daemons):
            since = len(self.gmail.transcript)
            await self.start()
            await self.quiet()
            await self.idle(since=since)  # all may be settled before it has begun
        else:
            await self.quiet()
        for daemon in self.daemons:
            if not daemon.ended.is_set():
                try:
                    if (status := await daemon.stop()) != 0:
                        self.complaints.append(f"exit status {status} on SIGTERM")
                except TimeoutError:
                    self.complaints.append("did not end on SIGTERM")
                    await daemon.kill()
        return self.judge()

    def judge(self) -> Finding:
        self.look_at_state()
        for word in ("Traceback", "never awaited", "was destroyed"):
            if word in (self.directory / "log").read_text("utf-8", "replace"):
                self.complaints.append(f"the log says {word!r}")
        for user in self.users:
            there = {message.uid: message for message in self.gmail.messages(user)}
            if any(there.get(one.uid, one) != one for one in self.sent.get(user, [])):
                self.complaints.append(f"the source of {user} was touched")
        if foreign := foreign_commands(self.gmail.transcript):
            self.complaints.append(f"said to the source: {foreign[0][:80]}")
        if pending := self._pending():
            self.complaints.append(f"{len(pending)} records are still PENDING")
        sent = Counter(_key(one) for messages in self.sent.values() for one in messages)
        copies = [copy for user in self.users for copy in self._once(user)]
        found = Counter(map(_key, copies))
        exact = Counter((one.raw, one.internaldate) for messages in self.sent.values() for one in messages)
        altered = 0
        if self.ground.outlook.rewrite is None:
            strangers = Counter((copy.raw, copy.internaldate) for copy in copies) - exact
            altered = sum(strangers.values()) - sum((found - sent).values())
        failed = len(self._failures())
        if failed != self.expected_failures:
            self.complaints.append(f"{failed} failures, not {self.expected_failures}")
        return Finding(
            delivered=self.delivered,
            lost=max(0, sum((sent - found).values()) - failed),
            duplicated=sum((found - sent).values()),
            altered=max(0, altered),
            failed=failed,
            complaints=tuple(dict.fromkeys(self.complaints)),
        )


def _key(message: StoredMessage) -> bytes:
    """What tells a message from another, however it was rewritten; twins are equal."""
    found = MARK.search(message.raw)
    return found[1] if found else message.raw


@asynccontextmanager
async def world(nursery: Nursery, seed: int, ground: Ground) -> AsyncIterator[World]:
    """A world, torn down with all who live in it; its directory stays only if it is kept."""
    clock, directory = SystemClock(), Path(tempfile.mkdtemp(prefix="f-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        tokens = await stack.enter_async_context(TokenEndpoint(clock, seed=seed, lifetime=ground.token_life))
        gmail = await stack.enter_async_context(
            GmailServer(clock, tokens=tokens, seed=seed, personality=ground.gmail)
        )
        made: list[World] = []

        def answer(raw: bytes) -> str | None:
            made[0].witness(raw)
            return made[0].objection(raw) if made[0].objection else None

        outlook = await stack.enter_async_context(
            OutlookServer(
                clock, tokens=tokens, seed=seed + 1, personality=replace(ground.outlook, objection=answer)
            )
        )
        line = await stack.enter_async_context(dynamo.line(Random(seed))) if ground.dynamo else None
        made.append(World(ground, directory, nursery, Random(seed), gmail, outlook, tokens, line))
        made[0].configure()
        if line is not None:
            init = await made[0].start(command="state init")
            await init.ended.wait()
            made[0].daemons.clear()
        try:
            yield made[0]
        finally:
            made[0].forget_state()
            for daemon in made[0].daemons:
                await daemon.kill()
