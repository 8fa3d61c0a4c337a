"""The real daemon as a child process that can be killed at a step, and whose time can go faster.

A nursery holds everything imported and forks a daemon in milliseconds: each runs cli.main() as
`python -m mailsyncd` would, in a process and session of its own. Nothing of this is in mailsyncd.

    python -m faults.child    from tests/: a JSON request a line on stdin, a JSON answer a line on stdout
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Orders:
    """What a daemon is to do: `arguments` and `environ` are its own, `output` gets what it writes.

    It dies at the `nth` time that it reaches `die_at`, a name of mailsyncd.steps.Step. Its clocks
    and timers go `speed` times as fast as the world's, its wall clock is `clock_offset` s off.
    Where `shared_time` is given, a file, they go by that time, as its `follower` of that number (pace.py).

    `store_faults`: the share of requests to the state store that fails in each of several ways, as
    `seed` has it. `pulse`: a file that tells, twice a minute, what only the process itself can count.
    """

    arguments: list[str]
    environ: dict[str, str]
    output: str
    die_at: str | None = None
    nth: int = 1
    speed: float = 1.0
    clock_offset: float = 0.0
    shared_time: str | None = None
    follower: int = 0
    store_faults: float = 0.0
    seed: int = 0
    pulse: str | None = None


class FastSelector(selectors.DefaultSelector):
    """Sleeps a fraction of what it is asked for."""

    speed = 1.0

    def select(self, timeout: float | None = None) -> list[Any]:
        return super().select(None if timeout is None else timeout / self.speed)


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop by whose time everything, also asyncio.timeout, goes `speed` times as fast."""

    def __init__(self, speed: float) -> None:
        selector = FastSelector()
        selector.speed = self.speed = speed
        super().__init__(selector)

    def time(self) -> float:
        return time.monotonic() * self.speed


class FastClock:
    """See ports.Clock; in step with FastLoop."""

    speed = 1.0
    offset = 0.0
    began = 0.0

    def monotonic(self) -> float:
        return time.monotonic() * self.speed

    def now(self) -> float:
        return self.began + (time.time() - self.began) * self.speed + self.offset

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Policy(asyncio.DefaultEventLoopPolicy):
    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
        super().__init__()
        self._make = make

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return self._make()


def _hurry(orders: Orders, assemble: Any) -> Callable[[], asyncio.AbstractEventLoop]:
    """Give the daemon its clock; how its loop is made."""
    if orders.shared_time is not None:
        from faults.pace import Follower, SharedClock, SharedLoop, SharedTime

        shared = SharedTime(orders.shared_time)
        assemble.SystemClock = lambda: SharedClock(shared, orders.clock_offset)
        return lambda: SharedLoop(shared, Follower(shared, orders.follower))
    FastClock.speed, FastClock.began, FastClock.offset = orders.speed, time.time(), orders.clock_offset
    assemble.SystemClock = FastClock
    return lambda: FastLoop(orders.speed)


def _deadly(place: str, nth: int) -> Callable[[Any], None]:
    """`place` is a step's name, where SIGKILL strikes; "stop:" before it makes that SIGTERM."""
    how, _, name = place.rpartition(":")
    left = nth

    def listener(step: Any) -> None:
        nonlocal left
        if step.name == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGTERM if how == "stop" else signal.SIGKILL)

    return listener


def live(orders: Orders) -> None:
    """Be the daemon. Never returns."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(orders.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 256)
    os.environ.clear()
    os.environ.update(orders.environ)
    from mailsyncd import assemble, cli, steps

    if orders.die_at is not None:
        steps.listen(_deadly(orders.die_at, orders.nth))
    make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    if orders.speed != 1.0 or orders.clock_offset:
        make_loop = _hurry(orders, assemble)
    struck: Counter[str] = Counter()
    if orders.pulse is not None:
        from faults.pulse import with_pulse

        make_loop = with_pulse(make_loop, orders.pulse, struck)
    if orders.store_faults:
        from faults.shaky import shake

        shake(assemble, orders.store_faults, orders.seed, struck)
    asyncio.set_event_loop_policy(_Policy(make_loop))
    status = 70
    try:
        status = cli.main(orders.arguments)
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 70
    except BaseException:  # noqa: BLE001 - a traceback is a finding: it must reach the log
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _reap(said: Callable[[dict[str, Any]], None], pid: int) -> None:
    """Tell of a child's end: a dead process that nobody has waited for still looks alive."""
    _, status = os.waitpid(pid, 0)
    said({"ended": pid, "status": os.waitstatus_to_exitcode(status)})


def main() -> None:
    from mailsyncd import assemble, cli, daemon
    from mailsyncd.commands import check, run, run_once, state  # imported before the first fork

    lock = threading.Lock()
    assert assemble
    assert cli
    assert daemon
    assert check
    assert run
    assert run_once
    assert state

    def said(answer: dict[str, Any]) -> None:
        with lock:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

    for line in sys.stdin:
        orders = Orders(**json.loads(line))
        with lock:
            pid = os.fork()
            if pid == 0:
                live(orders)
            sys.stdout.write(json.dumps({"born": pid}) + "\n")
            sys.stdout.flush()
        threading.Thread(target=_reap, args=(said, pid), daemon=True).start()


def request(orders: Orders) -> bytes:
    """One line for the nursery."""
    return json.dumps(asdict(orders)).encode() + b"\n"


if __name__ == "__main__":
    main()
