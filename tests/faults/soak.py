"""Days of the real daemon's life in minutes: does it grow, and does anything go wrong in the long run?

The daemon is a process of its own, as in the rest of the campaign: real sockets, real SQLite, real
files. Time is not virtual, it is fast: in the daemons, in the simulated servers and here, every
clock, timer and deadline goes SPEED times as fast as the world's (pace.py), so that hourly tokens,
sweeps, IDLE renewals, leases, retries and backoffs come as often as in so many real hours, in their
real order. What the machine takes on the way (the loopback, SQLite) is not faster, so deadlines are
tighter than in earnest: what fails by that is one more fault.

One daemon lives all the time and is measured. A second one comes and goes, by SIGKILL or in order,
and has one of the two destinations while it lives. The faults are those of background.py; answers
that the store loses are made at its port (shaky.py), as SQLite itself loses none.

python -m faults.soak --hours 24 --seed 1    (make soak)
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from faults.background import HOUR, STORE_SHARE, Background
from faults.child import Orders
from faults.measures import Hour, Sample, flat, heading, sampled, state_size, store_faults
from faults.nursery import Daemon, Nursery, nursery
from faults.pace import Keeper, SharedClock, SharedLoop, SharedTime
from faults.post import Post
from mailsyncd.ports import Clock
from mailsyncd.sim import GmailServer, OutlookServer, TokenEndpoint
from mailsyncd.sim.verdict import Verdict

SPEED = 120.0
PER_HOUR = 20_000 / 24  # messages
CALM = 300.0  # seconds without faults, at the start and at the end
LONG = 2.0  # hours: so long a soak has what lasts for an hour
BURST = 1000  # messages that wait at the start of a long one, every fifth a large one: more than fit
PATIENCE = 3 * HOUR  # without a copy, after the last fault: what was refused is tried again in an hour
ROUTES = {  # user: (destination, folder)
    "user1@gmail.example": ("one", "Gmail/user1"),
    "user2@gmail.example": ("one", "Gmail/user2"),
    "user3@gmail.example": ("one", "Gmail/user3"),
    "user4@gmail.example": ("two", "Gmail/user4"),
    "user5@gmail.example": ("two", "Gmail/user5"),
}
ADDRESSES = {"one": "one@outlook.example", "two": "two@outlook.example"}
FOLDERS = {user: (ADDRESSES[destination], folder) for user, (destination, folder) in ROUTES.items()}


@dataclass(eq=False)
class Soak:
    """See background.Scene."""

    clock: Clock
    directory: Path
    place: Nursery
    rng: Random
    gmail: GmailServer
    outlook: OutlookServer
    tokens: TokenEndpoint
    post: Post
    hours: list[Hour] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    daemons: list[Daemon] = field(default_factory=list)

    # ----------------------------------------------------------------- the scene

    @property
    def elder(self) -> Daemon:
        return self.daemons[0]

    async def new_younger(self, clock_offset: float) -> Daemon:
        return await self._birth("younger", clock_offset)

    async def _birth(self, name: str, clock_offset: float = 0.0) -> Daemon:
        """One more daemon, with a socket, and a file that tells its pulse, of its own."""
        path = self.directory / f"{name}.toml"
        path.touch(mode=0o600)
        path.write_text(self._configuration(name))
        orders = Orders(
            arguments=["run", "--config", str(path)],
            environ={"HOME": str(self.directory), "PATH": os.environ["PATH"]},
            output=str(self.directory / "log"),
            speed=SPEED,
            clock_offset=clock_offset,
            shared_time=str(self.directory / "time"),
            follower=("elder", "younger").index(name),
            store_faults=STORE_SHARE,
            seed=self.rng.randrange(1 << 30),
            pulse=str(self.directory / f"{name}.pulse"),
        )
        daemon = await self.place.birth(orders)
        self.daemons.append(daemon)
        return daemon

    def _configuration(self, name: str) -> str:
        # Longer than a destination is silent and then late, one after the other.
        text = f'[daemon]\nsocket = "{name}.sock"\nlog_format = "json"\nsettle_window = "3m"\n'
        text += '[http]\nlisten = "off"\n[state]\npath = "state.db"\n'
        for destination, address in ADDRESSES.items():
            text += f'[[destinations]]\nname = "{destination}"\nemail = "{address}"\nper_second = 0\n'
            text += self._server(self.outlook.port, address, "microsoft")
        for user, (destination, folder) in ROUTES.items():
            text += f'[[routes]]\ngmail = "{user}"\nfolder = "{folder}"\ndestination = "{destination}"\n'
            text += 'start = "all"\nclient_secret = "demo"\n'
            text += self._server(self.gmail.port, user, "google")
        return text

    def _server(self, port: int, user: str, provider: str) -> str:
        known = self.directory / f"{user}.grant"
        if not known.exists():
            known.write_text(self.tokens.grant(user, provider))
        url = self.tokens.google_url if provider == "google" else self.tokens.microsoft_url
        return (
            f'host = "127.0.0.1"\nport = {port}\ntls = false\nclient_id = "demo"\n'
            f'refresh_token = "{known.read_text()}"\ntoken_url = "{url}"\n'
        )

    # ------------------------------------------------------------------- the life

    async def live(self, hours: float, harshness: float) -> Verdict:
        """Calm, faults, calm; then all is counted."""
        await self._birth("elder")
        await self._mail_comes(until=self.clock.monotonic() + CALM)
        before, began = await self._calm(), self.clock.monotonic()
        if hours >= LONG:
            await self._outage()
        background = Background(self, Random(self.rng.random()), harshness, hour_long_pauses=hours >= LONG)
        faults = asyncio.create_task(background.run())
        print(heading(), flush=True)
        try:
            for number in range(1, max(1, round(hours)) + 1):
                samples = await self._mail_comes(until=began + hours * HOUR * number / max(1, round(hours)))
                self._tell(number, samples, background)
                if faults.done():
                    await faults
        finally:
            faults.cancel()
            await asyncio.gather(faults, return_exceptions=True)
        await self._mail_comes(until=self.clock.monotonic() + CALM)
        await self._settle()
        after = await self._calm()
        self.complaints += flat(self.hours, before, after)
        struck = background.struck + store_faults(self.directory / "elder.pulse")
        await self._end()
        print(f"calm before: {before}; after: {after}")
        print(f"{struck.total()} faults:", ", ".join(f"{name} {n}" for name, n in sorted(struck.items())))
        return self.post.verdict()

    async def _outage(self) -> None:
        """More waits than `memory_budget` holds: what memory the daemon may ever take by its settings
        it has from then on, and that does not look like growth."""
        self.outlook.turns_away = True
        self.outlook.drop_all()
        for _ in range(BURST):
            self.post.deliver(large=0.2)
        await self.clock.sleep(120.0)
        self.outlook.turns_away = False

    async def _mail_comes(self, until: float) -> list[Sample]:
        """Mail at random moments; how the elder is, every minute."""
        samples: list[Sample] = []
        now = self.clock.monotonic()
        mail_due, sample_due = now, now
        while now < until and not self.elder.ended.is_set():
            while mail_due <= now:
                self.post.deliver()
                mail_due += self.rng.expovariate(PER_HOUR / HOUR)
            if sample_due <= now:
                samples += sampled(self.elder.pid, self.directory / "elder.pulse")
                sample_due += 60.0
            await self.clock.sleep(2.0)
            now = self.clock.monotonic()
        if self.elder.ended.is_set():
            raise RuntimeError(f"the daemon ended by itself with status {self.elder.status}")
        return samples

    async def _calm(self) -> Sample:
        """The least of what it has when it has nothing to do."""
        samples: list[Sample] = []
        for _ in range(6):
            samples += sampled(self.elder.pid, self.directory / "elder.pulse")
            await self.clock.sleep(31.0)
        return min(samples, key=lambda one: (one.tasks, one.files))

    def _tell(self, number: int, samples: list[Sample], background: Background) -> None:
        size, post = state_size(self.directory), self.post
        hour = Hour.of(number, samples, post.delivered, post.copied, size)
        hour.faults = (background.struck + store_faults(self.directory / "elder.pulse")).total()
        self.hours.append(hour)
        self.complaints += self.post.harm_at_source()
        print(hour, flush=True)

    async def _settle(self) -> None:
        """Until everything is there and nothing is still to come."""
        missing, ends = self.post.missing, self.clock.monotonic() + PATIENCE
        while missing > 0 or self.outlook.commits_to_come or state_size(self.directory).pending:
            if self.clock.monotonic() > ends:
                self.complaints.append(f"{missing} messages are not there in time, or PENDING for ever")
                return
            await self.clock.sleep(20.0)
            if self.post.missing < missing:
                missing, ends = self.post.missing, self.clock.monotonic() + PATIENCE
        await self.clock.sleep(CALM)

    async def _end(self) -> None:
        """Nothing else runs; it stops in order, and leaves nothing undone."""
        self.elder.signal(signal.SIGTERM)
        await self.elder.ended.wait()
        if self.elder.status != 0:
            self.complaints.append(f"exit status {self.elder.status} on SIGTERM")
        self.complaints += self.post.harm_at_source()
        size, expected = state_size(self.directory), len(self.post.unwanted)
        if size.pending or size.failed != expected:
            self.complaints.append(f"{size.pending} records PENDING, {size.failed} failures, not {expected}")
        log = (self.directory / "log").read_text("utf-8", "replace")
        for word in ("Traceback", "never awaited", "was destroyed"):
            if word in log:
                self.complaints.append(f"the log says {word!r}")


@asynccontextmanager
async def stage(directory: Path, clock: Clock, seed: int) -> AsyncIterator[Soak]:
    """Servers and a nursery, for as long as the block lasts."""
    async with (
        nursery() as place,
        TokenEndpoint(clock, seed=seed) as tokens,
        GmailServer(clock, tokens=tokens, seed=seed) as gmail,
        OutlookServer(clock, tokens=tokens, seed=seed + 1) as outlook,
    ):
        post = Post(gmail, outlook, FOLDERS, Random(seed + 2))
        try:
            yield Soak(clock, directory, place, Random(seed), gmail, outlook, tokens, post)
        finally:
            if kept := os.environ.get("FAULTS_KEEP"):
                for name in ("log", "state.db"):
                    shutil.copy(directory / name, Path(kept) / f"soak-{seed}-{name}")


async def soak(directory: Path, clock: Clock, asked: argparse.Namespace) -> bool:
    began = time.monotonic()
    async with stage(directory, clock, asked.seed) as made:
        verdict = await made.live(asked.hours, asked.harshness)
    minutes = (time.monotonic() - began) / 60
    delays = verdict.delays or (0.0,)
    print(
        f"{asked.hours:g} h in {minutes:.1f} min: delivered {verdict.delivered}, copied {verdict.copied}, "
        f"lost {verdict.lost}, doubled {verdict.duplicated}, altered {verdict.altered}; set aside "
        f"{len(made.post.unwanted)} that the destination does not take; a copy took "
        f"{delays[len(delays) // 2]:.0f} s, 1 in 100 more than {delays[len(delays) * 99 // 100]:.0f} s, "
        f"at most {delays[-1]:.0f} s"
    )
    for complaint in dict.fromkeys(made.complaints):
        print("FAILED:", complaint)
    return verdict.is_clean and not made.complaints


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--harshness", type=float, default=1.0, help="times the background rate of faults")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))  # leave no daemon behind
    with TemporaryDirectory(prefix="soak-") as name:
        directory = Path(name)
        shared = SharedTime.beginning(directory / "time", time.time())
        with asyncio.Runner(loop_factory=lambda: SharedLoop(shared, Keeper(shared, SPEED))) as runner:
            good = runner.run(soak(directory, SharedClock(shared), arguments))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
