"""What servers do to a client: late and lying answers, throttling, limits, renumbering, rewriting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from faults.cases import Case
from faults.world import ME, SETTLE, Ground, World
from mailsyncd.sim import GMAIL, OUTLOOK, Act, Fault, Reply
from mailsyncd.sim.corpus import Mail
from mailsyncd.sim.outlook import regenerated_mime

PATIENCE = 30.0
SWEEPS = 'sweep_interval = "30s"'


async def _arrived(world: World, seconds: float = PATIENCE) -> None:
    await world.until(lambda: world.copied >= world.delivered, seconds)


# ------------------------------------------------------------ the ambiguous APPEND


async def late_commit(world: World, delay: float) -> None:
    """The connection ends; the server stores the message so much later (its seconds)."""
    world.outlook.script(Fault("APPEND", Act.LATE, delay=delay / world.ground.speed, nth=2))
    await world.start()
    world.deliver_all(3)
    await _arrived(world)


async def struck(world: World, fault: Fault) -> None:
    """One APPEND in the middle meets this."""
    await world.start()
    await world.idle()
    world.deliver_all(2)
    await _arrived(world)
    world.outlook.script(fault)
    world.deliver_all(3)
    await _arrived(world)


def ambiguous() -> Iterator[Case]:
    for delay in (0, 1, 5, 30, 60, 85):
        yield Case("R7", f"{delay} s", partial(late_commit, delay=delay))
    full = "NO [OVERQUOTA] Mailbox is full"
    for name, text in (("NO", "NO Server error"), ("BAD", "BAD Command Error. 12"), ("OVERQUOTA", full)):
        for times in (1, 3):
            fault = Fault("APPEND", Act.REFUSE_AFTER, text, times=times)
            yield Case("R8", f"{name} after commit, {times}", partial(struck, fault=fault))
    for code in (
        "[APPENDUID 1 999999]",
        "[APPENDUID x y]",
        "[APPENDUID 4294967296 0]",
        "[APPENDUID]",
        "[ALERT]",
    ):
        fault = Fault("APPEND", Act.REFUSE_AFTER, f"OK {code} done", times=3)
        yield Case("R9", code, partial(struck, fault=fault))
    for name, outlook in (
        ("no UIDPLUS", replace(OUTLOOK, uidplus=False)),
        ("no APPENDUID", replace(OUTLOOK, append_uid=False)),
    ):
        for act in (Act.DROP_AFTER, Act.LATE):
            play = partial(struck, fault=Fault("APPEND", act, nth=2, delay=30 / Ground().speed))
            yield Case("R9", f"{name}, {act.name}", play, Ground(outlook=outlook))


# -------------------------------------------------------------------- identity


async def identical(world: World, kind: str) -> None:
    """Twenty messages that look alike, and every third APPEND ends in doubt."""
    body = b"the same text\r\n"
    world.outlook.weather(world.rng.randrange(1 << 30), 0.3, Fault("APPEND", Act.DROP_AFTER))
    when = world.mail().internaldate
    await world.start()
    for number in range(20):
        unique = b"" if kind == "identical" else b"%d\r\n" % number
        mid = b"" if kind == "no Message-ID" else b"Message-ID: <one@example.org>\r\n"
        world.deliver(world.users[0], Mail(mid + b"Subject: twins\r\n\r\n" + body + unique, when))
    await _arrived(world)


async def same_folder(world: World) -> None:
    """The same mail comes to two routes that share a folder, with doubts: a copy for each."""
    world.outlook.weather(world.rng.randrange(1 << 30), 0.3, Fault("APPEND", Act.DROP_AFTER))
    await world.start()
    for _ in range(5):
        mail = world.mail()
        for user in world.users:
            world.deliver(user, mail)
    await _arrived(world)


async def notified_twice(world: World) -> None:
    """Sweeps every few seconds beside IDLE, and connections that come and go: one copy each."""
    await world.start()
    for _ in range(10):
        world.deliver_all(2)
        await asyncio.sleep(0.1)
        world.gmail.drop_all()
    await _arrived(world)


async def back_in_inbox(world: World, crash: bool) -> None:
    """Archived, and back in INBOX under another UID with the same X-GM-MSGID: no second copy."""
    daemon = await world.start()
    user = world.users[0]
    sent = [world.deliver(user) for _ in range(4)]
    await _arrived(world)
    for one in sent[:3]:
        msgid = world.gmail.archive(user, one.uid)
        if crash:
            await daemon.kill()
        world.gmail.return_to_inbox(user, msgid)
        if crash:
            daemon = await world.start()
        await asyncio.sleep(0.1)
    world.deliver(user)
    await _arrived(world)


def identity() -> Iterator[Case]:
    yield Case("R10", "IDLE, sweeps, reconnects", notified_twice, Ground(daemon_keys='sweep_interval = "5s"'))
    for kind in ("identical", "one Message-ID", "no Message-ID"):
        for gmail in (GMAIL, replace(GMAIL, gmail_extensions=False)):
            name = f"{kind}, {'X-GM-MSGID' if gmail.gmail_extensions else 'UID only'}"
            yield Case("R11", name, partial(identical, kind=kind), Ground(gmail=gmail))
    yield Case("R12", "two routes, one folder", same_folder, Ground(routes=2, one_folder=True))
    for crash in (False, True):
        name = "with crashes" if crash else "while running"
        yield Case("R13", name, partial(back_in_inbox, crash=crash), Ground(daemon_keys=SWEEPS))


# ---------------------------------------------------------------------- signing in


async def sessions_expire(world: World, side: str, times: int) -> None:
    """BYE in mid-stream, as when the access token has died."""
    server = getattr(world, side)
    await world.start()
    for _ in range(times):
        world.deliver_all(3)
        await asyncio.sleep(world.rng.random() * 0.05)
        await server.expire_sessions()
        world.tokens.expire(world.users[0] if side == "gmail" else ME)
        await _arrived(world)


async def tokens_fail(world: World, replies: list[Reply | float]) -> None:
    """The token endpoint gives these answers first."""
    world.tokens.answer_next(*replies)
    await world.start()
    world.deliver_all(2)
    await _arrived(world)


def signing_in() -> Iterator[Case]:
    for side in ("gmail", "outlook"):
        yield Case("R20", side, partial(sessions_expire, side=side, times=4))
    yield Case(
        "R20", "tokens of 60 s", partial(sessions_expire, side="gmail", times=2), Ground(token_life=60 / 30)
    )
    answers: dict[str, list[Reply | float]] = {
        "500": [Reply(500, "oops")] * 3,
        "429": [Reply(429, {"error": "slow_down"}, {"Retry-After": "20"})] * 2,
        "HTML": [Reply(200, "<html>please sign in to the hotel</html>")] * 3,
        "503 and silence": [Reply(503, ""), 0.2],
        "empty object": [Reply(200, {})] * 2,
    }
    for name, replies in answers.items():
        yield Case("R21", name, partial(tokens_fail, replies=replies))


# ------------------------------------------------------------------- renumbering


async def source_renumbered(world: World, when: str) -> None:
    """UIDVALIDITY changes before, during and after a copy; and once more. What came long ago is
    outside the window that is searched again: so all of this mail is fresh."""
    daemon = await world.start()
    user = world.users[0]
    for _ in range(4):
        world.deliver(user, world.mail(fresh=True))
    await _arrived(world)
    if when == "in doubt":
        world.outlook.script(Fault("APPEND", Act.DROP_AFTER), Fault("APPEND", Act.LATE, delay=1, nth=2))
    if when == "dead":
        await daemon.kill()
    for turn in range(2):
        world.deliver(user, world.mail(fresh=True))
        if when == "mid-read":
            world.gmail.script(Fault("UID FETCH", Act.DROP))
        world.gmail.renumber(user, first_uid=1 + 100 * turn)
        world.sent[user] = world.gmail.messages(user)
        await asyncio.sleep(0.3)
    if when == "dead":
        await world.start()
    world.deliver(user, world.mail(fresh=True))
    await _arrived(world)


async def folder_gone(world: World, how: str) -> None:
    """The target folder is deleted, renamed, or numbered anew, with an APPEND in doubt. What its
    user took away is no loss of ours; the one in doubt is copied again if its folder is gone."""
    await world.start()
    world.deliver_all(3)
    await _arrived(world)
    user = world.users[0]
    folder = world.folder(user)
    world.outlook.script(Fault("APPEND", Act.DROP_AFTER))
    world.deliver_all(1)
    await _arrived(world)
    if how == "renumbered":
        world.outlook.renumber(ME, folder, first_uid=50)
    else:
        account = world.outlook.account(ME)
        account.delete(folder) if how == "deleted" else account.rename(folder, "Elsewhere")
        world.outlook.drop_all()
        world.sent[user] = world.sent[user][3:]
    for _ in range(3):
        world.deliver_all(1)
        await _arrived(world, 10)


async def odd_numbers(world: World) -> None:
    """Messages vanish while they are listed and read; INBOX is emptied at once (R25, R26)."""
    await world.start()
    user = world.users[0]
    box = world.gmail.mailbox(user)
    for _ in range(6):
        for _ in range(5):
            world.deliver(user)
        await _arrived(world)
        for message in world.gmail.messages(user)[:3]:
            box.remove(message.uid)
    for message in world.gmail.messages(user):
        box.remove(message.uid)
    await asyncio.sleep(0.3)
    world.deliver(user)
    await _arrived(world)


def numbering() -> Iterator[Case]:
    for when in ("idle", "in doubt", "mid-read", "dead"):
        for gmail in (GMAIL, replace(GMAIL, gmail_extensions=False)):
            name = f"{when}, {'X-GM-MSGID' if gmail.gmail_extensions else 'UID only'}"
            yield Case("R23", name, partial(source_renumbered, when=when), Ground(gmail=gmail))
    for how in ("renumbered", "deleted", "renamed"):
        yield Case("R24", how, partial(folder_gone, how=how), Ground(daemon_keys=SWEEPS))
    yield Case("R25", "EXPUNGEs, emptied", odd_numbers)


# -------------------------------------------------------------- limits and manners


async def throttled(world: World, milliseconds: str) -> None:
    """The destination asks for a pause: nothing is sent until it is over, if it is a sane one."""
    text = f"NO Request is throttled. Suggested Backoff Time: {milliseconds} milliseconds"
    await world.start()
    await world.idle()
    world.outlook.script(Fault("APPEND", Act.REFUSE, text))
    world.deliver_all(2)
    await world.until(lambda: any("throttled" in line.text for line in world.outlook.transcript))
    said, began = len(world.outlook.transcript), time.monotonic()
    pause = min(int(milliseconds) / 1000, 300) if milliseconds.isdigit() else 0
    await _arrived(world)
    waited = (time.monotonic() - began) * world.ground.speed
    if pause > 5 and waited < pause - 2:
        again = [line.text for line in world.outlook.transcript[said:] if line.side == "C"]
        world.complaints.append(f"asked to wait {pause:.0f} s, sent {again[:1]} after {waited:.0f} s")


async def poisonous(world: World, answer: str, *, final: bool) -> None:
    """Every APPEND of two messages is refused, and the server hangs up after a few errors (B39).
    Where the answer does not blame the message, it is tried again until it is taken."""
    world.objection = lambda raw: answer if raw.endswith(b"poison\r\n") else None
    await world.start()
    for number in range(12):
        mail = world.mail()
        if number in (2, 7):
            mail = Mail(mail.raw + b"poison\r\n", mail.internaldate)
        world.deliver(world.users[0], mail)
    await world.until(lambda: world.copied >= 10, PATIENCE, why="the healthy ones")
    if final:
        world.expected_failures = 2
    else:
        world.objection = None


async def accept_and_drop(world: World, side: str) -> None:
    """Each login is followed by a hang-up: it must not become a storm (R29)."""
    server = getattr(world, side)
    command = "EXAMINE" if side == "gmail" else "APPEND"
    server.script(Fault(command, Act.DROP, times=1_000))
    await world.start()
    world.deliver_all(1)
    await asyncio.sleep(6)
    logins = server.accepted
    if logins > 10 + 6 * world.ground.speed / 30 + 3:
        world.complaints.append(f"{logins} logins in {6 * world.ground.speed:.0f} s")


async def too_many_connections(world: World) -> None:
    """The accounts' connections are nearly used up by others; then they are not."""
    await world.start()
    world.deliver_all(3)
    await _arrived(world, 5)
    most = world.gmail.most_at_once
    if most > 2 * len(world.users):
        world.complaints.append(f"{most} connections to Gmail for {len(world.users)} routes")


async def full(world: World, text: str, times: int) -> None:
    """No room for a while: messages wait, none has failed."""
    await world.start()
    await world.idle()
    world.outlook.script(Fault("APPEND", Act.REFUSE, text, times=times))
    world.deliver_all(6)
    await asyncio.sleep(3)
    await world.quiet(40)


async def malformed(world: World) -> None:
    """Mail of every broken kind that Gmail would hand out."""
    await world.start()
    world.expected_failures = 1  # the line of a million bytes, which this destination refuses
    when = world.mail().internaldate
    parts = b"--x\r\n" * 500
    for number, raw in enumerate(
        (
            b"",
            b"\r\n",
            b"no header at all",
            b"Subject: only a header",
            b"Subject: a\r\n\r\nNUL \0 inside\r\n",
            b"Subject: bare\nLF and\rCR\n\nbody\nbody\r",
            b"X-Long: " + b"x" * 1_000_000 + b"\r\n\r\nbody\r\n",
            b"Subject: raw 8-bit \xff\xfe\r\n\r\n\xff\r\n",
            b"Date: yesterday, perhaps\r\nMessage-ID: <<<>\r\n\r\n.\r\n",
            b"Message-ID:\r\n\r\n",
            b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n' + parts,
            b"From nobody Thu Jan 1\r\nSubject: mbox\r\n\r\n>From\r\n\r\n.\r\n",
            b"a1 LOGOUT\r\na2 DELETE INBOX\r\n\r\na3 LOGOUT\r\n",
        )
    ):
        world.deliver(world.users[0], Mail(raw + b"%d" % number, when))
    await _arrived(world)


async def unreadable(world: World) -> None:
    """Gmail lists a message and refuses its text: only that one is set aside (R33)."""
    await world.start()
    user = world.users[0]
    sent = [world.deliver(user) for _ in range(5)]
    world.gmail.mailbox(user).unreadable.add(sent[2].uid)
    world.expected_failures = 1
    await world.until(lambda: world.copied >= 4, PATIENCE, why="the readable ones")


def _scrambled(raw: bytes) -> bytes:
    """Another Message-ID, fields in another order, another size."""
    head, _, body = raw.partition(b"\r\n\r\n")
    fields = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"message-id:")]
    return b"\r\n".join([*reversed(fields), b"X-MS-Has-Attach: yes"]) + b"\r\n\r\n" + body + b"\r\n"


def manners() -> Iterator[Case]:
    for milliseconds in ("1", "30000", "299961", "1000000000000", "-1", "soon"):
        yield Case("R27", milliseconds, partial(throttled, milliseconds=milliseconds))
    hasty = Ground(outlook=replace(OUTLOOK, max_errors=3))
    for answer, final in (
        ("BAD Command Argument Error. 11", True),
        ("NO Invalid message", True),
        ("NO The message could not be processed", False),
    ):
        yield Case("R28", answer, partial(poisonous, answer=answer, final=final), hasty)
    for side in ("gmail", "outlook"):
        yield Case("R29", side, partial(accept_and_drop, side=side))
    few = replace(GMAIL, max_connections=1)
    yield Case("R30", "one a user", too_many_connections, Ground(routes=3, gmail=few))
    yield Case("R31", "broken mail", malformed)
    yield Case("R33", "refused by FETCH", unreadable)
    for name, rewrite in (("MIME", regenerated_mime), ("Message-ID and order", _scrambled)):
        for act in (Act.DROP_AFTER, Act.LATE):
            ground = Ground(outlook=replace(OUTLOOK, rewrite=rewrite))
            play = partial(struck, fault=Fault("APPEND", act, nth=2, delay=30 / ground.speed))
            yield Case("R35", f"{name}, {act.name}", play, ground)
    for text in ("NO [OVERQUOTA] Mailbox is full", "NO Mailbox has exceeded its quota"):
        yield Case("R36", text, partial(full, text=text, times=3))


# ---------------------------------------------------------------------- two daemons, clocks


async def clock_jumps(world: World, offset: float) -> None:
    """Each life believes in another time of day; messages are in doubt across the jumps."""
    for turn in range(3):
        daemon = await world.start(clock_offset=offset * (turn % 2))
        world.outlook.script(Fault("APPEND", Act.LATE, delay=SETTLE / 3 / world.ground.speed))
        world.deliver_all(2)
        await asyncio.sleep(0.5 + world.rng.random())
        await daemon.kill()


def clocks() -> Iterator[Case]:
    for name, offset in {
        "+1 h": 3600.0,
        "-1 h": -3600.0,
        "+400 d": 400 * 86400.0,
        "-400 d": -400 * 86400.0,
    }.items():
        yield Case("R37", name, partial(clock_jumps, offset=offset))
