"""Records, watermarks, failures and leases as items: keys and plain attributes, the same in every store.

Keys are the table of docs/architecture.md. UIDs are zero-padded, so that a query by key reads
them in order. Attributes that are None are left out. What an earlier mailsyncd needs of an item
stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mailsyncd.errors import FailureKind
from mailsyncd.model import (
    Claimant,
    Failure,
    Lease,
    Member,
    Record,
    Status,
    TokenNote,
    Trace,
    Traffic,
    Watermark,
)
from mailsyncd.policy import instant

Item = dict[str, Any]

FORMAT = 1  # a later one is for what this mailsyncd could not read; new attributes are not

WATERMARK = "WATERMARK"
LEASE = "LEASE"
DAEMONS = "DAEMONS"
UID_DIGITS = 10  # of 2**32 - 1


def uid_key(uidvalidity: int, uid: int) -> str:
    return f"UID#{uidvalidity:0{UID_DIGITS}d}#{uid:0{UID_DIGITS}d}"


def uid_prefix(uidvalidity: int) -> str:
    return f"UID#{uidvalidity:0{UID_DIGITS}d}#"


def message_key(gm_msgid: str) -> str:
    return f"MSG#{gm_msgid}"


def failure_key(uidvalidity: int, uid: int) -> str:
    return f"FAIL#{uidvalidity:0{UID_DIGITS}d}#{uid:0{UID_DIGITS}d}"


def destination_key(destination: str) -> str:
    return f"DEST#{destination}"


def account_key(account: str) -> str:
    return f"ACCOUNT#{account}"


def token_key(line: str) -> str:
    return f"TOKEN#{line}"


def traffic_prefix(day: str) -> str:
    return f"BYTES#{day}#"


def _without_none(**attributes: Any) -> Item:
    return {name: value for name, value in attributes.items() if value is not None}


def record_item(record: Record) -> Item:
    return _without_none(
        uidvalidity=record.uidvalidity,
        uid=record.uid,
        status=record.status.value,
        epoch=record.claimed_by.epoch,
        attempt=record.claimed_by.attempt,
        claimed_at=record.claimed_at,
        rfc822_sha256=record.sha256,
        size=record.size,
        internaldate=record.internaldate,
        digest=record.digest,
        message_id_header=record.message_id,
        gm_msgid=record.gm_msgid,
        dest_uidvalidity=record.dest_uidvalidity,
        dest_uidnext=record.dest_uidnext,
        dest_uid=record.dest_uid,
        copied_at=record.copied_at,
        ttl=record.expires_at,
        same_as=f"{record.same_as[0]}/{record.same_as[1]}" if record.same_as else None,
        repairs=",".join(record.repairs) or None,
    )


def record_of(item: Mapping[str, Any]) -> Record:
    same = str(item["same_as"]).partition("/") if item.get("same_as") else None
    return Record(
        uidvalidity=int(item["uidvalidity"]),
        uid=int(item["uid"]),
        status=Status(item["status"]),
        claimed_by=Claimant(int(item["epoch"]), str(item["attempt"])),
        claimed_at=float(item["claimed_at"]),
        sha256=str(item["rfc822_sha256"]),
        size=int(item["size"]),
        internaldate=str(item["internaldate"]),
        digest=str(item["digest"]),
        message_id=item.get("message_id_header"),
        gm_msgid=item.get("gm_msgid"),
        dest_uidvalidity=_integer(item.get("dest_uidvalidity")),
        dest_uidnext=_integer(item.get("dest_uidnext")),
        dest_uid=_integer(item.get("dest_uid")),
        copied_at=None if item.get("copied_at") is None else float(item["copied_at"]),
        expires_at=_integer(item.get("ttl")),
        same_as=(int(same[0]), int(same[2])) if same else None,
        repairs=tuple(filter(None, str(item.get("repairs", "")).split(","))),
    )


def trace_of(item: Mapping[str, Any]) -> Trace:
    """Of a record's item, in a third of the memory that the record would take."""
    return Trace(
        item.get("message_id_header"),
        instant(str(item["internaldate"])),
        str(item["digest"]),
        _integer(item.get("dest_uidvalidity")),
        _integer(item.get("dest_uid")),
        _integer(item.get("dest_uidnext")),
    )


def pointer_item(record: Record) -> Item:
    """MSG#: which UID record stands for this message, and whose claim made it do so."""
    return {"uidvalidity": record.uidvalidity, "uid": record.uid, "attempt": record.claimed_by.attempt}


def pointer_of(item: Mapping[str, Any]) -> Item:
    """A pointer without its keys: for the condition that it is still the same."""
    return {name: value for name, value in item.items() if name not in ("PK", "SK")}


def pointed(item: Mapping[str, Any]) -> tuple[int, int]:
    return int(item["uidvalidity"]), int(item["uid"])


def watermark_item(watermark: Watermark) -> Item:
    return _without_none(
        uidvalidity=watermark.uidvalidity,
        last_uid=watermark.last_uid,
        updated_at=watermark.updated_at,
        backlog_until=watermark.backlog_until,
        since=watermark.since,
        rescan_of=",".join(map(str, watermark.rescan_of)) or None,
        dest_uidvalidity=watermark.dest_uidvalidity,
        dest_uidnext=watermark.dest_uidnext,
    )


def watermark_of(item: Mapping[str, Any]) -> Watermark:
    return Watermark(
        int(item["uidvalidity"]),
        int(item["last_uid"]),
        float(item["updated_at"]),
        int(item.get("backlog_until", 0)),
        None if item.get("since") is None else float(item["since"]),
        tuple(map(int, filter(None, str(item.get("rescan_of", "")).split(",")))),
        _integer(item.get("dest_uidvalidity")),
        _integer(item.get("dest_uidnext")),
    )


def failure_item(failure: Failure) -> Item:
    return _without_none(
        uidvalidity=failure.uidvalidity,
        uid=failure.uid,
        kind=failure.kind.value,
        last_error=failure.error,
        retry_count=failure.retry_count,
        updated_at=failure.updated_at,
        next_attempt_at=failure.next_attempt_at,
        size=failure.size,
        resolved=failure.resolved,
        ttl=failure.expires_at,
        dest_uidvalidity=failure.dest_uidvalidity,
        dest_uidnext=failure.dest_uidnext,
        gm_msgid=failure.gm_msgid,
    )


def failure_of(item: Mapping[str, Any]) -> Failure:
    return Failure(
        int(item["uidvalidity"]),
        int(item["uid"]),
        FailureKind(item["kind"]),
        str(item["last_error"]),
        int(item["retry_count"]),
        float(item["updated_at"]),
        None if item.get("next_attempt_at") is None else float(item["next_attempt_at"]),
        int(item.get("size", 0)),
        bool(item.get("resolved", False)),
        _integer(item.get("ttl")),
        _integer(item.get("dest_uidvalidity")),
        _integer(item.get("dest_uidnext")),
        item.get("gm_msgid"),
    )


def lease_item(lease: Lease) -> Item:
    return {
        "owner": lease.owner,
        "epoch": lease.epoch,
        "beat": lease.beat,
        "life": lease.life,
        "renewed_at": lease.renewed_at,
        "pool": lease.pool,
    }


def lease_of(item: Mapping[str, Any]) -> Lease:
    return Lease(
        str(item["owner"]),
        int(item["epoch"]),
        int(item["beat"]),
        float(item["life"]),
        float(item["renewed_at"]),
        str(item.get("pool", "")),
    )


def member_item(member: Member) -> Item:
    return {
        "owner": member.owner,
        "pool": member.pool,
        "beat": member.beat,
        "life": member.life,
        "renewed_at": member.renewed_at,
        "ttl": member.expires_at,
        "leaving": member.leaving,
    }


def member_of(item: Mapping[str, Any]) -> Member:
    return Member(
        str(item["owner"]),
        str(item["pool"]),
        int(item["beat"]),
        float(item["life"]),
        float(item["renewed_at"]),
        int(item["ttl"]),
        bool(item["leaving"]),
    )


def traffic_item(traffic: Traffic) -> Item:
    return {
        "account": traffic.account,
        "day": traffic.day,
        "owner": traffic.owner,
        "size": traffic.size,
        "ttl": traffic.expires_at,
    }


def traffic_of(item: Mapping[str, Any]) -> Traffic:
    return Traffic(
        str(item["account"]), str(item["day"]), str(item["owner"]), int(item["size"]), int(item["ttl"])
    )


def token_item(note: TokenNote) -> Item:
    return _without_none(
        account=note.account,
        line=note.line,
        revision=note.revision,
        since=note.since,
        used_at=note.used_at,
        ttl=note.expires_at,
        sealed=note.sealed,
    )


def token_note_of(item: Mapping[str, Any]) -> TokenNote:
    return TokenNote(
        str(item["account"]),
        str(item["line"]),
        int(item["revision"]),
        float(item["since"]),
        float(item["used_at"]),
        int(item["ttl"]),
        item.get("sealed"),
    )


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)
