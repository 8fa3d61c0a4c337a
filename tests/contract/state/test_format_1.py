"""State outlives the program: what the first mailsyncd wrote is read and gone on with, what is written now
holds all that the first one needs, and a newer form is refused before anything is written (R50)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from engines import dynamo
from fakes import Copy, FakeOutlook, VirtualClock, mail
from harness import a_route, bench_of

from mailsyncd.errors import FailureKind, StateUnavailable
from mailsyncd.model import Counts, Lease, Status, Watermark
from mailsyncd.observe.clock import SystemClock
from mailsyncd.ports import StateStore
from mailsyncd.state import items
from mailsyncd.state.dynamo_client import Write
from mailsyncd.state.dynamodb import DynamoStore
from mailsyncd.state.items import Item
from mailsyncd.state.memory import MemoryStore
from mailsyncd.state.sqlite import SqliteStore

FIRST = (Path(__file__).parent / "format_1.sql").read_text()
ROUTE = a_route()
NOW = 1_800_000_000.0
WHEN = "17-Jul-2026 09:40:08 +0000"
MSGID = 1_592_225_494_819_146_100  # and the UID
FORMS: dict[str, Callable[[Item], Item]] = {
    "UID": lambda item: items.record_item(items.record_of(item)),
    "FAIL": lambda item: items.failure_item(items.failure_of(item)),
    "WATERMARK": lambda item: items.watermark_item(items.watermark_of(item)),
    "LEASE": lambda item: items.lease_item(items.lease_of(item)),
    "MSG": lambda item: items.pointer_item(
        items.record_of(next(one for _, sk, one in first_items() if sk == items.uid_key(7, item["uid"])))
    ),
}


def first_items() -> Iterable[tuple[str, str, Item]]:
    connection = sqlite3.connect(":memory:")
    connection.executescript(FIRST)
    rows = connection.execute("SELECT pk, sk, item FROM items").fetchall()
    connection.close()
    return [(pk, sk, json.loads(item)) for pk, sk, item in rows]


async def fill(store: StateStore) -> None:
    for pk, sk, item in first_items():
        if isinstance(store, DynamoStore):
            await store._client.put(Write(pk, sk, item))
        else:
            assert isinstance(store, MemoryStore)
            store.table.put(pk, sk, item)


async def read_of(store: StateStore) -> dict[str, object]:
    """What is made of it, by what was asked."""
    key = ROUTE.key
    records = await store.records(key, 7)
    delivered = await store.delivered(key, None, 0)
    return {
        "watermark": await store.watermark(key),
        "records": [(one.uid, one.status, one.dest_uid, one.same_as) for one in records],
        "pending": [one.uid for one in await store.pending(key)],
        "delivered": sorted(((one.dest_uidvalidity, one.dest_uid) for one in delivered), key=repr),
        "failures": [(one.uid, one.kind, one.resolved) for one in await store.failures(key)],
        "counts": await store.counts(key),
        "lease": await store.lease("me@outlook.example"),
    }


UNDERSTOOD = {
    "watermark": Watermark(7, 2, NOW + 80, backlog_until=7, since=NOW - 86_400, rescan_of=(6,)),
    "records": [
        (1, Status.DONE, 1, None),
        (2, Status.DONE, None, None),
        (3, Status.PENDING, None, None),
        (4, Status.FAILED, None, None),
        (6, Status.DONE, None, (7, 1)),
    ],
    "pending": [3],
    "delivered": [(3, 1), (3, 90), (3, None)],
    "failures": [(4, FailureKind.REJECTED, False), (5, FailureKind.OVERSIZE, True)],
    "counts": Counts(done=4, pending=1, failed=1),
    "lease": Lease("host:1:abc", 4, 17, 30.0, NOW + 80),
}


async def test_its_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST)
    connection.close()
    store = SqliteStore(path, clock=VirtualClock(NOW))
    await store.open()
    assert await read_of(store) == UNDERSTOOD
    await store.close()


async def test_its_table_is_read(light_url: str, aws: None) -> None:
    store = dynamo(light_url)
    await store.init_table(point_in_time_recovery=False, deletion_protection=False)
    await store.open()
    await fill(store)
    assert await read_of(store) == UNDERSTOOD
    await store.close()


async def test_a_daemon_goes_on_from_it() -> None:
    clock = VirtualClock(NOW + 100)
    outlook = FakeOutlook(clock)
    outlook.folders[ROUTE.folder] = [Copy(uid, mail(uid), WHEN, seen=False) for uid in (1, 2, 3)]
    outlook.uidnext[ROUTE.folder] = 4
    bench = bench_of(ROUTE, clock=clock, outlook=outlook, store=MemoryStore())
    await fill(bench.store)
    for uid in range(1, 8):
        again = 1 if uid == 6 else uid  # back in INBOX under another UID
        bench.boxes[ROUTE].deliver(mail(again), gm_msgid=str(MSGID + again))
    async with bench.running():
        await clock.advance(20)
        assert outlook.appends == 0  # the other's lease has not run out
        await clock.advance(300)
        assert outlook.bodies(ROUTE.folder) == [mail(1), mail(2), mail(3), mail(7)]
        assert bench.destination.status().epoch == 5
        await clock.advance(3_600)  # what was refused is due again
    assert outlook.bodies(ROUTE.folder) == [mail(1), mail(2), mail(3), mail(7), mail(4)]
    assert await bench.store.counts(ROUTE.key) == Counts(done=7, pending=0, failed=0)
    mark = await bench.store.watermark(ROUTE.key)
    assert mark is not None
    assert mark.last_uid == 7


@pytest.mark.parametrize("kind", FORMS)
def test_what_is_written_now_has_all_that_it_needs(kind: str) -> None:
    found = [item for _, sk, item in first_items() if sk.partition("#")[0] == kind]
    assert found
    for item in found:
        written = FORMS[kind](item)
        # As text, for it took "6" for a number as well as 6.
        assert {name: str(value) for name, value in written.items() if name in item} == {
            name: str(value) for name, value in item.items()
        }


async def test_a_newer_table_is_refused_before_anything_is_written(light_url: str, aws: None) -> None:
    store = dynamo(light_url)
    await store.init_table(point_in_time_recovery=False, deletion_protection=False)
    await store._client.put(Write("GATE", "GATE", {"format": items.FORMAT + 1}))
    store.requests.clear()
    with pytest.raises(StateUnavailable) as caught:
        await store.open()
    assert str(caught.value).endswith(
        "was written by a newer mailsyncd (format 2): run that one, or set another [state] table"
    )
    assert not store.requests.keys() & {"PutItem", "TransactWriteItems", "UpdateItem"}
    await store.close()


async def test_a_newer_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST)
    connection.execute(f"PRAGMA user_version = {items.FORMAT + 1}")
    connection.close()
    before = path.read_bytes()
    store = SqliteStore(path, clock=SystemClock())
    with pytest.raises(StateUnavailable) as caught:
        await store.open()
    assert str(caught.value).endswith(
        "was written by a newer mailsyncd (format 2): run that one, or set another [state] path"
    )
    await store.close()
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["state.db"]
