"""What every IMAP server must do with sessions and mailboxes, simulated or real."""

from __future__ import annotations

import base64
import re

import pytest
from imap_targets import MAIL, Target


async def test_the_greeting_is_an_untagged_ok(server: Target) -> None:
    assert (await server.greeted()).greeting.startswith(b"* OK ")


async def test_capabilities_after_sign_in_offer_what_copying_needs(server: Target) -> None:
    answer = await (await server()).ok(b"CAPABILITY")
    names = set(answer.one(rb"\* CAPABILITY (.*)\r\n")[1].split())
    assert {b"IMAP4rev1", b"IDLE", b"UIDPLUS", b"MOVE", b"NAMESPACE", b"ID", b"UNSELECT"} <= names
    assert names & {b"LITERAL+", b"LITERAL-"}


async def test_sign_in_by_xoauth2_is_offered_before_it(server: Target) -> None:
    answer = await (await server.greeted()).ok(b"CAPABILITY")
    names = set(answer.one(rb"\* CAPABILITY (.*)\r\n")[1].split())
    assert {b"AUTH=XOAUTH2", b"SASL-IR"} <= names


async def test_a_bad_token_ends_in_a_tagged_no_and_the_connection_lives(server: Target) -> None:
    imap = await server.greeted()
    answer = await imap.xoauth2(server.user, "no-such-token")
    assert answer.status == "NO"
    assert bool(answer.untagged) == (server.name != "outlook")
    assert (await imap.xoauth2(server.user, server.token)).status == "OK"


async def test_the_token_of_another_user_is_refused(server: Target) -> None:
    imap = await server.greeted()
    assert (await imap.xoauth2("somebody-else", server.token)).status == "NO"


async def test_xoauth2_works_without_an_initial_response(server: Target) -> None:
    imap = await server.greeted()
    tag = imap.start(b"AUTHENTICATE XOAUTH2")
    assert (await imap.response()).startswith(b"+")
    plain = f"user={server.user}\x01auth=Bearer {server.token}\x01\x01"
    imap.write(base64.b64encode(plain.encode()) + b"\r\n")
    assert (await imap.finish(tag)).status == "OK"


@pytest.mark.parametrize("command", [b'LIST "" "*"', b"EXAMINE INBOX", b"UID FETCH 1 (UID)", b"NONSENSE"])
async def test_what_is_not_allowed_before_sign_in_is_bad(server: Target, command: bytes) -> None:
    imap = await server.greeted()
    assert (await imap.do(command)).status == "BAD"
    assert (await imap.do(b"NOOP")).status == "OK"


async def test_fetch_without_a_mailbox_is_bad(server: Target) -> None:
    assert (await (await server()).do(b"UID FETCH 1 (UID)")).status == "BAD"


async def test_logout_says_bye_then_ok_then_closes(server: Target) -> None:
    imap = await server()
    answer = await imap.ok(b"LOGOUT")
    assert answer.lines(rb"\* BYE")
    assert await imap.response() == b""


async def test_id_and_namespace_are_answered(server: Target) -> None:
    imap = await server()
    await imap.ok(b'ID ("name" "mailsyncd")')
    found = (await imap.ok(b"NAMESPACE")).one(rb'\* NAMESPACE \(\("([^"]*)" "(.)"')
    assert found[1] == b""


async def test_examine_tells_what_a_listing_starts_from(server: Target) -> None:
    imap = await server()
    await imap.append(b"INBOX", MAIL)
    answer = await imap.ok(b"EXAMINE INBOX")
    assert answer.text.startswith("[READ-ONLY]")
    assert int(answer.one(rb"\* (\d+) EXISTS")[1]) == 1
    assert int(answer.one(rb"\* OK \[UIDNEXT (\d+)\]")[1]) == 2
    assert int(answer.one(rb"\* OK \[UIDVALIDITY (\d+)\]")[1]) > 0
    assert answer.lines(rb"\* FLAGS \(")


async def test_examine_protects_the_flags_even_from_a_fetch_that_would_set_seen(server: Target) -> None:
    imap = await server()
    await imap.append(b"INBOX", MAIL)
    await imap.ok(b"EXAMINE INBOX")
    await imap.ok(b"UID FETCH 1 (BODY.PEEK[])")
    await imap.ok(b"UID FETCH 1 (BODY[])")
    await imap.do(b"UID STORE 1 +FLAGS (\\Seen)")  # NO, or an OK that changes nothing
    answer = await (await server()).ok(b"STATUS INBOX (UNSEEN MESSAGES)")
    found = answer.one(rb"\* STATUS \S+ \((.*)\)")
    assert b"UNSEEN 1" in found[1]
    assert b"MESSAGES 1" in found[1]


async def test_peek_leaves_the_flags_and_a_plain_body_sets_seen_in_a_selected_mailbox(server: Target) -> None:
    imap = await server()
    await imap.append(b"INBOX", MAIL)
    await imap.ok(b"SELECT INBOX")
    await imap.ok(b"UID FETCH 1 (BODY.PEEK[])")
    assert b"\\Seen" not in (await imap.ok(b"UID FETCH 1 (FLAGS)")).one(rb"\* 1 FETCH (.*)")[1]
    await imap.ok(b"UID FETCH 1 (BODY[])")
    assert b"\\Seen" in (await imap.ok(b"UID FETCH 1 (FLAGS)")).one(rb"\* 1 FETCH (.*)")[1]


async def test_a_missing_mailbox_is_no_and_leaves_nothing_selected(server: Target) -> None:
    imap = await server()
    await imap.ok(b"EXAMINE INBOX")
    assert (await imap.do(b"EXAMINE Nowhere")).status == "NO"
    assert (await imap.do(b"UID FETCH 1 (UID)")).status == "BAD"


async def test_status_counts_and_foretells_the_next_uid(server: Target) -> None:
    imap = await server()
    for _ in range(3):
        await imap.append(b"INBOX", MAIL)
    answer = await imap.ok(b"STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")
    found = answer.one(rb"\* STATUS \S+ \((.*)\)")[1].split()
    values = dict(zip(found[::2], map(int, found[1::2]), strict=True))
    assert (values[b"MESSAGES"], values[b"UIDNEXT"], values[b"UNSEEN"]) == (3, 4, 3)
    again = await imap.ok(b"EXAMINE INBOX")
    assert int(again.one(rb"\* OK \[UIDVALIDITY (\d+)\]")[1]) == values[b"UIDVALIDITY"]


async def test_create_is_refused_the_second_time_and_delete_makes_room(server: Target) -> None:
    imap = await server()
    await imap.ok(b"CREATE Copies/ann")
    assert (await imap.do(b"CREATE Copies/ann")).status == "NO"
    await imap.ok(b"DELETE Copies/ann")
    assert (await imap.do(b"EXAMINE Copies/ann")).status == "NO"
    await imap.ok(b"CREATE Copies/ann")


async def test_a_mailbox_made_anew_has_another_uidvalidity(server: Target) -> None:
    imap = await server()
    seen = set()
    for _ in range(2):
        await imap.ok(b"CREATE Again")
        answer = await imap.ok(b"STATUS Again (UIDVALIDITY)")
        seen.add(answer.one(rb"\* STATUS \S+ \(UIDVALIDITY (\d+)\)")[1])
        await imap.ok(b"DELETE Again")
    assert len(seen) == 2


async def test_rename_keeps_messages_and_uids(server: Target) -> None:
    imap = await server()
    await imap.ok(b"CREATE Old")
    await imap.append(b"Old", MAIL)
    await imap.append(b"Old", MAIL)
    await imap.ok(b"RENAME Old New")
    assert (await imap.do(b"EXAMINE Old")).status == "NO"
    await imap.ok(b"EXAMINE New")
    assert (await imap.ok(b"UID SEARCH ALL")).one(rb"\* SEARCH(.*)\r\n")[1].split() == [b"1", b"2"]


@pytest.mark.parametrize(
    "name",
    [b'"with space"', b'"Entw&APw-rfe"', b'"a&-b"', b'"&2D3eAA- smile"', b'"back\\\\slash"', b'"st*r"'],
)
async def test_quoted_and_utf7_names_come_back_as_they_went(server: Target, name: bytes) -> None:
    imap = await server()
    await imap.ok(b"CREATE " + name)
    assert (await imap.append(name, MAIL)).status == "OK"
    assert (await imap.ok(b"EXAMINE " + name)).one(rb"\* (\d+) EXISTS")[1] == b"1"
    plain = re.sub(rb"\\(.)", rb"\1", name.strip(b'"'))
    listed = [
        _unquoted(m[1]) for m in (await imap.ok(b'LIST "" "*"')).lines(rb'\* LIST \(.*?\) "/" (.*)\r\n')
    ]
    assert plain in listed


def _unquoted(name: bytes) -> bytes:
    if not name.startswith(b"{"):
        return re.sub(rb"\\(.)", rb"\1", name.strip(b'"'))
    return name.partition(b"\r\n")[2]


async def test_a_mailbox_name_may_be_a_literal(server: Target) -> None:
    imap = await server()
    tag = imap.start(b"CREATE {7}")
    assert (await imap.response()).startswith(b"+")
    imap.write(b"Literal\r\n")
    assert (await imap.finish(tag)).status == "OK"
    await imap.ok(b"EXAMINE Literal")


async def test_percent_stops_at_the_separator_and_star_does_not(server: Target) -> None:
    imap = await server()
    await imap.ok(b"CREATE Top/inner")
    star = (await imap.ok(b'LIST "" "Top*"')).lines(rb"\* LIST .*Top")
    percent = (await imap.ok(b'LIST "" "Top/%"')).lines(rb"\* LIST .*Top")
    assert len(star) == 2
    assert len(percent) == 1


async def test_inbox_has_no_case(server: Target) -> None:
    imap = await server()
    await imap.append(b"iNbOx", MAIL)
    assert (await imap.ok(b"EXAMINE inbox")).one(rb"\* (\d+) EXISTS")[1] == b"1"
