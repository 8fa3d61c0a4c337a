"""The rows of the campaign, in the order of the list of faults."""

from __future__ import annotations

from collections.abc import Iterator

from faults import cuts, deaths, servers, stores
from faults.cases import Case

ROWS = {
    "R1": "kill -9 at every step",
    "R2": "kill -9 twice",
    "R3": "kill -9 at random",
    "R4": "destination cut at every byte",
    "R5": "source cut at every byte",
    "R6": "reset, FIN, BYE, silence, half-open",
    "R7": "server commits late",
    "R8": "NO after commit",
    "R9": "APPENDUID absent, wrong, malformed",
    "R10": "told of the same mail many times",
    "R11": "identical mail, no Message-ID",
    "R12": "two routes into one folder",
    "R13": "back in INBOX under a new UID",
    "R14": "state store throttles",
    "R15": "state store away at the start",
    "R16": "state store away while running",
    "R17": "state store's answers lost after commit",
    "R19": "state store emptied, or restored from before",
    "R20": "session and token expire",
    "R21": "token endpoint fails",
    "R23": "source's UIDVALIDITY changes",
    "R24": "target folder renumbered, deleted, renamed",
    "R25": "EXPUNGEs; INBOX emptied",
    "R27": "throttled",
    "R28": "poisonous mail, server hangs up",
    "R29": "login accepted, then dropped",
    "R30": "connection limit",
    "R31": "malformed mail",
    "R32": "sizes around the limit",
    "R33": "unreadable at the source",
    "R35": "destination rewrites mail",
    "R36": "destination full",
    "R37": "clock jumps",
    "R38": "reload of a broken configuration",
    "R39": "a hundred reloads in a second",
    "R40": "routes changed by reloads",
    "R41": "two daemons, one frozen past its lease",
    "R43": "SIGTERM at every step",
}


def all_cases() -> Iterator[Case]:
    yield from deaths.r1()
    yield from deaths.r2(60, seed=1)
    yield from deaths.r3(10, 20)
    yield from cuts.r4()
    yield from cuts.r5()
    yield from cuts.r6()
    yield from cuts.r6_half_open()
    yield from servers.ambiguous()
    yield from servers.identity()
    yield from servers.signing_in()
    yield from servers.numbering()
    yield from servers.manners()
    yield from servers.clocks()
    yield from stores.states()
    yield from stores.reloads()
    yield from stores.others()
    yield from deaths.r41(10)
    yield from deaths.r43()
