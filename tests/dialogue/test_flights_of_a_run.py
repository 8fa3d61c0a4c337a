"""A later run-once, flight by flight: a script here answers only when all that may go along is there."""

from __future__ import annotations

import asyncio

from fakes import WHEN, breathe, mail
from harness import Bench, a_route, bench_of
from scripts import BASIC, Line, names, served, signed_in, sink, source, take_append

from mailsyncd.imap.profiles import choose
from mailsyncd.model import Status

ROUTE = a_route()
FOLDER = "Gmail/ann"
DATE = f'"{WHEN}"'


async def known() -> Bench:
    """One message was copied before."""
    first = bench_of(ROUTE)
    first.boxes[ROUTE].deliver(mail(1))
    async with first.running() as task:
        await first.clock.advance(2)
        first.destination.stop()
        await first.clock.advance(2)
        await task
    return first


def again(first: Bench, source_port: int, port: int) -> Bench:
    outlook = sink(port, choose("localhost"))
    return Bench(first.clock, outlook, {ROUTE: source(source_port)}, store=first.store)  # type: ignore[arg-type, dict-item]


async def opened(line: Line, *, uidnext: int) -> None:
    """Greeting, sign-in, and the mailbox: three round trips."""
    await line.greet(f"{BASIC} ID")
    identity, opening = await line.expect("ID "), await line.expect("EXAMINE ")
    line.say("* ID NIL", f"{identity} OK", f"* {uidnext - 1} EXISTS", "* OK [UIDVALIDITY 7] .")
    line.say(f"* OK [UIDNEXT {uidnext}] .", f"{opening} OK [READ-ONLY] .")


def listing(uid: int) -> str:
    return f"* {uid} FETCH (UID {uid} RFC822.SIZE {len(mail(uid))} INTERNALDATE {DATE})"


async def nothing_new(line: Line) -> None:
    await opened(line, uidnext=2)
    search, look = await line.expect("UID SEARCH UID 2:*"), await line.expect("UID FETCH 1 ")
    line.say("* SEARCH 1", f"{search} OK", listing(1), f"{look} OK")
    await line.until_closed()


async def test_with_nothing_new_five_round_trips_to_the_source_and_a_greeting_are_all() -> None:
    ended = []

    async def folder(line: Line) -> None:
        line.say(f"* OK [CAPABILITY {BASIC} LOGIN] ready")
        ended.append(await line.reader.read())

    first = await known()
    async with served(nothing_new) as source_port, served(folder) as port:
        bench = again(first, source_port, port)
        assert await bench.destination.run_once()
        assert bench.watch(ROUTE).complete
        await breathe()
    assert ended == [b""], "nobody signs in where there is nothing to write"


async def test_with_nothing_new_it_does_not_matter_that_the_destination_is_away() -> None:
    first = await known()
    async with served(nothing_new) as source_port:
        bench = again(first, source_port, 9)
        assert await bench.destination.run_once()
        assert bench.watch(ROUTE).complete


async def test_a_destination_that_hung_up_before_it_was_wanted_is_dialled_again() -> None:
    taken: list[bytes] = []
    hung_up = asyncio.Event()

    async def mailbox(line: Line) -> None:
        await hung_up.wait()
        await opened(line, uidnext=3)
        new, bodies = await line.expect("UID FETCH 2:* "), await line.expect("UID FETCH 2:9 (UID BODY.PEEK")
        look = await line.expect("UID FETCH 1 ")
        line.say(listing(2), f"{new} OK", f"{bodies} OK", listing(1), f"{look} OK")
        body = await line.expect("UID FETCH 2 ")
        line.say(f"* 2 FETCH (UID 2 BODY[] {{{len(mail(2))}}}")
        line.writer.write(mail(2) + b")\r\n")
        line.say(f"{body} OK")
        await line.until_closed()

    async def impatient(line: Line) -> None:
        line.say(f"* OK [CAPABILITY {BASIC} LOGIN] ready")
        await line.writer.drain()
        line.writer.close()
        hung_up.set()

    async def folder(line: Line) -> None:
        await signed_in(line)
        status = await line.expect(f'STATUS "{FOLDER}"')
        line.say(f'* STATUS "{FOLDER}" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)', f"{status} OK")
        tag, body, _ = await take_append(line)
        taken.append(body)
        line.say(f"{tag} OK [APPENDUID 3 2] .")
        await line.until_closed()

    first = await known()
    async with served(mailbox) as source_port, served(impatient, folder) as port:
        assert await again(first, source_port, port).destination.run_once()
    assert taken == [mail(2)]


async def test_what_did_not_come_with_the_listing_is_asked_for_before_the_folder_was_looked_at() -> None:
    sent: list[bytes] = []
    asked = asyncio.Event()

    async def mailbox(line: Line) -> None:
        await opened(line, uidnext=4)
        new, bodies = await line.expect("UID FETCH 2:* "), await line.expect("UID FETCH 2:9 (UID BODY.PEEK")
        look = await line.expect("UID FETCH 1 ")
        line.say(listing(2), listing(3), f"{new} OK", f"* 2 FETCH (UID 2 BODY[]<0> {{{len(mail(2))}}}")
        line.writer.write(mail(2) + b")\r\n")
        line.say(f"{bodies} OK", listing(1), f"{look} OK")
        rest = await line.expect("UID FETCH 3 (UID BODY.PEEK[])")
        asked.set()
        line.say(f"* 3 FETCH (UID 3 BODY[] {{{len(mail(3))}}}")
        line.writer.write(mail(3) + b")\r\n")
        line.say(f"{rest} OK")
        await line.until_closed()

    async def folder(line: Line) -> None:
        await line.greet(f"{BASIC} LITERAL+")
        probe, _, _ = await take_append(line, plus=True)
        noop = await line.expect("NOOP")
        line.say(f"{probe} NO no such mailbox", f"{noop} OK")
        await names(line)
        status = await line.expect(f'STATUS "{FOLDER}"')
        async with asyncio.timeout(5):
            await asked.wait()
        line.say(f'* STATUS "{FOLDER}" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)', f"{status} OK")
        taken = [await take_append(line, plus=True) for _ in range(2)]
        sent.extend(body for _, body, _ in taken)
        for (tag, _, _), uid in zip(taken, (2, 3), strict=True):
            line.say(f"{tag} OK [APPENDUID 3 {uid}] .")
        await line.until_closed()

    first = await known()
    async with served(mailbox) as source_port, served(folder) as port:
        assert await again(first, source_port, port).destination.run_once()
    assert sent == [mail(2), mail(3)]


async def test_what_is_new_is_dialled_for_at_once_and_comes_with_its_listing() -> None:
    sent: list[bytes] = []

    async def mailbox(line: Line) -> None:
        await opened(line, uidnext=4)
        new, bodies = await line.expect("UID FETCH 2:* "), await line.expect("UID FETCH 2:9 (UID BODY.PEEK")
        look = await line.expect("UID FETCH 1 ")
        line.say(listing(2), listing(3), f"{new} OK")
        for uid in (2, 3):
            line.say(f"* {uid} FETCH (UID {uid} BODY[]<0> {{{len(mail(uid))}}}")
            line.writer.write(mail(uid) + b")\r\n")
        line.say(f"{bodies} OK", listing(1), f"{look} OK")
        await line.until_closed()

    async def folder(line: Line) -> None:
        await line.greet(f"{BASIC} LITERAL+ NAMESPACE ID")
        identity = await line.expect("ID ")
        probe, _, _ = await take_append(line, plus=True)
        noop, names = await line.expect("NOOP"), await line.expect("NAMESPACE")
        line.say(f"{identity} OK", f"{probe} NO no such mailbox", f"{noop} OK")
        line.say('* NAMESPACE (("" "/")) NIL NIL', f"{names} OK")
        status = await line.expect(f'STATUS "{FOLDER}"')
        line.say(f'* STATUS "{FOLDER}" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3)', f"{status} OK")
        taken = [await take_append(line, plus=True) for _ in range(2)]
        sent.extend(body for _, body, _ in taken)
        line.say(*(f"{tag} OK [APPENDUID 3 {uid}] ." for uid, (tag, _, _) in enumerate(taken, 2)))
        await line.until_closed()

    first = await known()
    async with served(mailbox) as source_port, served(folder) as port:
        bench = again(first, source_port, port)
        assert await bench.destination.run_once()
        assert bench.watch(ROUTE).complete
    assert sent == [mail(2), mail(3)]
    assert [one.status for one in await bench.store.records(ROUTE.key, 7)] == [Status.DONE] * 3
