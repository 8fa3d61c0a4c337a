from __future__ import annotations
from collections.abc import Sequence
from dataclasses import replace
from mailsyncd.errors import StateUnavailable
from mailsyncd.model import *
from mailsyncd.ports import Refused
from mailsyncd.model import Failure, Lease, Record, Watermark, Status, Counts, Event


class MemoryStore:
    def __init__(self) -> None:
        self.w = {}; self.r = {}; self.m = {}; self.f = {}; self.l = {}
        self.down = False
    async def open(self):
        self._up()
    def _up(self):
        if self.down: raise StateUnavailable("down")
    async def close(self): pass
    async def watermark(self, route): self._up(); return self.w.get(route)
    async def advance(self, route, new, *, expected):
        self._up(); cur = self.w.get(route)
        same = (cur is None) == (expected is None) and (cur is None or (cur.uidvalidity, cur.last_uid) == (expected.uidvalidity, expected.last_uid))
        if same: self.w[route] = new
        return same
    async def claim(self, route, record):
        self._up()
        k = (route, record.uidvalidity, record.uid); cur = self.r.get(k)
        if cur and cur.claimed_by == record.claimed_by: return None
        if cur and cur.status is not Status.FAILED: return Refused(cur)
        if record.gm_msgid:
            p = self.m.get((route, record.gm_msgid))
            if p and p != (record.uidvalidity, record.uid):
                other = self.r.get((route, *p))
                if other is None: return Refused(replace(record, uidvalidity=p[0], uid=p[1], status=Status.DONE))
                if other.status is not Status.FAILED: return Refused(other)
            self.m[(route, record.gm_msgid)] = (record.uidvalidity, record.uid)
        self.r[k] = record
        return None
    async def adopt(self, route, record, new):
        self._up(); k = (route, record.uidvalidity, record.uid); cur = self.r.get(k)
        if cur and cur.status is Status.PENDING and cur.claimed_by in (record.claimed_by, new.claimed_by):
            self.r[k] = new; return True
        return False
    async def finish(self, route, record, events=()):
        self._up(); k = (route, record.uidvalidity, record.uid); cur = self.r.get(k)
        if record.same_as or (cur and cur.claimed_by == record.claimed_by):
            self.r[k] = record; return True
        return False
    async def fail(self, route, failure, claimed):
        self._up(); self.f[(route, failure.uidvalidity, failure.uid)] = failure
        if claimed: self.r[(route, claimed.uidvalidity, claimed.uid)] = replace(claimed, status=Status.FAILED)
    async def records(self, route, uidvalidity, after=0):
        self._up(); return sorted((r for (k, v, u), r in self.r.items() if k == route and v == uidvalidity and u > after), key=lambda r: r.uid)
    async def delivered(self, route, dv, from_uid):
        self._up(); return [r for (k, _, _), r in self.r.items() if k == route and r.status is Status.DONE and r.dest_uidvalidity == dv and (r.dest_uid is None or r.dest_uid >= from_uid)]
    async def pending(self, route):
        self._up(); return [r for (k, _, _), r in self.r.items() if k == route and r.status is Status.PENDING]
    async def failures(self, route): return [f for (k, _, _), f in self.f.items() if k == route]
    async def counts(self, route):
        rs = [r for (k, _, _), r in self.r.items() if k == route]
        return Counts(sum(r.status is Status.DONE for r in rs), sum(r.status is Status.PENDING for r in rs), len(await self.failures(route)))
    async def lease(self, d): self._up(); return self.l.get(d)
    async def put_lease(self, d, new, *, expected):
        self._up(); cur = self.l.get(d)
        if (cur and (cur.owner, cur.epoch, cur.beat)) == (expected and (expected.owner, expected.epoch, expected.beat)):
            self.l[d] = new; return True
        return False
