"""One account that is dead for hours is nobody else's trouble."""

from __future__ import annotations

import pytest
from fakes import mail
from harness import a_route, bench_of

from mailsyncd.errors import ConnectionLost, MailsyncError, RouteBlocked
from mailsyncd.flow import destination
from mailsyncd.status import RouteState

ROUTES = [a_route(f"user{n}@gmail.example", f"Gmail/{n}") for n in range(5)]
HOUR = 3600.0


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ConnectionLost("imap.gmail.com:993: Connection refused"), RouteState.RETRYING),
        (RouteBlocked("invalid_grant: sign in again"), RouteState.BLOCKED),
    ],
)
async def test_the_others_mail_takes_no_longer_and_its_own_comes_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch, error: MailsyncError, state: RouteState
) -> None:
    monkeypatch.setattr(destination, "TICK", 60.0)
    bench = bench_of(*ROUTES, life=3600.0)
    dead, *alive = ROUTES
    bench.boxes[dead].fail_connect = [error] * 100_000
    async with bench.running():
        for hour in range(8):
            await bench.clock.advance(HOUR - 5)
            for route in ROUTES:
                bench.boxes[route].deliver(mail(hour, message_id=f"<{hour}.{route.gmail}>"))
            await bench.clock.advance(5)
            assert [len(bench.outlook.bodies(one.folder)) for one in alive] == [hour + 1] * 4
        assert bench.watch(dead).status().state in (state, RouteState.CONNECTING)
        assert all(bench.watch(one).status().state is RouteState.WATCHING for one in alive)
        assert bench.outlook.sessions == 1
        bench.boxes[dead].fail_connect = []
        await bench.clock.advance(7 * HOUR)
    assert len(bench.outlook.bodies(dead.folder)) == 8
