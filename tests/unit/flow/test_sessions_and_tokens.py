"""Sessions that end with their token, by plan; and a token that is dead until its user signs in."""

from __future__ import annotations

import asyncio

from fakes import mail
from harness import a_route, bench_of
from structlog.testing import capture_logs

from mailsyncd.errors import SignInNeeded
from mailsyncd.status import RouteState, WriterState

ANN, BOB = a_route(), a_route("bob@gmail.example", "Gmail/bob")


async def test_sessions_that_end_before_their_token_lose_no_mail_that_comes_meanwhile() -> None:
    bench = bench_of(ANN)
    box, sent = bench.boxes[ANN], []
    with capture_logs() as lines:
        async with bench.running():
            for step in range(400):
                if step % 50 == 20:  # both sides, at about the same time
                    box.ends_mono = bench.clock.monotonic() + 5
                    assert bench.outlook.current is not None
                    bench.outlook.current.ends_mono = bench.clock.monotonic() + 6
                if step % 50 == 23:  # the session after it has the next token
                    box.ends_mono = None
                sent.append(mail(step))
                box.deliver(sent[-1])
                await bench.clock.advance(2)
            await bench.clock.advance(30)
    assert bench.outlook.bodies("Gmail/ann") == sent
    events = [line["event"] for line in lines]
    assert events.count("route.connected") >= 8
    assert events.count("writer.connected") >= 8
    assert not {"route.retrying", "writer.retrying", "route.blocked"} & set(events)


async def test_a_route_that_needs_its_user_waits_no_longer_than_its_user() -> None:
    bench = bench_of(ANN, BOB)
    mended = asyncio.Event()
    dead = SignInNeeded("invalid_grant. Run: mailsyncd auth gmail", mended=mended)
    bench.boxes[ANN].fail_connect = [dead]
    for route in (ANN, BOB):
        bench.boxes[route].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(100)
        assert bench.watch(ANN).state is RouteState.NEEDS_SIGN_IN
        assert bench.watch(ANN).status().detail == str(dead)
        assert bench.outlook.bodies("Gmail/bob") == [mail(1)]
        assert bench.outlook.bodies("Gmail/ann") == []
        mended.set()
        await bench.clock.advance(2)
        assert bench.watch(ANN).state is RouteState.WATCHING
        assert bench.outlook.bodies("Gmail/ann") == [mail(1)]


async def test_a_destination_that_needs_its_user_waits_no_longer_either() -> None:
    bench = bench_of(ANN)
    mended = asyncio.Event()
    bench.outlook.fail_connect = [SignInNeeded("invalid_grant", mended=mended)]
    bench.boxes[ANN].deliver(mail(1))
    async with bench.running():
        await bench.clock.advance(100)
        assert bench.destination.status().state is WriterState.NEEDS_SIGN_IN
        mended.set()
        await bench.clock.advance(2)
        assert bench.outlook.bodies("Gmail/ann") == [mail(1)]
