"""What every IMAP server must do with messages, simulated or real."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from imap_targets import MAIL, Target
from raw_imap import RawImap, literal

from mailsyncd.sim.corpus import corpus

UID = re.compile(rb"UID (\d+)")


def uids(lines: list[re.Match[bytes]]) -> list[int]:
    return [int(found[1]) for line in lines if (found := UID.search(line[0]))]


async def searched(imap: RawImap, keys: bytes) -> list[int]:
    found = (await imap.ok(b"UID SEARCH " + keys)).one(rb"\* SEARCH(.*)\r\n")
    return [int(uid) for uid in found[1].split()]


@pytest.mark.parametrize("plus", [False, True])
async def test_append_keeps_every_byte(server: Target, plus: bool) -> None:
    imap = await server()
    sent = [mail.raw for mail in corpus(7, 22) if not plus or len(mail.raw) <= 4096 or server.name != "gmail"]
    for raw in sent:
        assert (await imap.append(b"INBOX", raw, plus=plus)).status == "OK"
    await imap.ok(b"EXAMINE INBOX")
    answer = await imap.ok(b"UID FETCH 1:* (UID BODY.PEEK[])")
    assert [literal(line[0], b"BODY[]") for line in answer.lines(rb"\* \d+ FETCH.*")] == sent


async def test_appenduid_names_the_copy(server: Target) -> None:
    imap = await server()
    validity = (await imap.ok(b"EXAMINE INBOX")).one(rb"\* OK \[UIDVALIDITY (\d+)\]")[1].decode()
    for uid in (1, 2, 3):
        answer = await imap.append(b"INBOX", MAIL)
        assert answer.text.startswith(f"[APPENDUID {validity} {uid}]")


async def test_append_keeps_date_and_flags(server: Target) -> None:
    imap = await server()
    await imap.append(b"INBOX", MAIL, b'(\\Seen \\Flagged) " 9-Feb-2020 23:59:58 -0330"')
    await imap.ok(b"EXAMINE INBOX")
    line = (await imap.ok(b"UID FETCH 1 (FLAGS INTERNALDATE)")).one(rb"\* 1 FETCH (.*)")[1]
    assert b"\\Seen" in line
    assert b"\\Flagged" in line
    shown = re.search(rb'INTERNALDATE "(.*?)"', line)
    assert shown
    when = datetime.strptime(shown[1].decode().strip(), "%d-%b-%Y %H:%M:%S %z")
    assert when == datetime.fromisoformat("2020-02-09T23:59:58-03:30")


async def test_append_to_a_missing_mailbox_says_trycreate_instead_of_going_on(server: Target) -> None:
    imap = await server()
    answer = await imap.append(b"Nowhere", MAIL)
    assert (answer.status, answer.text[:11]) == ("NO", "[TRYCREATE]")
    assert (await imap.append(b"INBOX", MAIL)).status == "OK"


async def test_pipelined_commands_are_answered_in_order(server: Target) -> None:
    imap = await server()
    tags = [imap.start(b"NOOP") for _ in range(20)]
    tags.append(imap.start(b"EXAMINE INBOX"))
    tags.append(imap.start(b"UID SEARCH ALL"))
    for tag in tags:
        assert (await imap.finish(tag)).status == "OK"


async def test_pipelined_appends_are_all_stored_once(server: Target) -> None:
    imap = await server()
    tags = []
    for n in range(30):
        raw = b"Message-ID: <%d@example.org>\r\n\r\n" % n
        tags.append(imap.start(b"APPEND INBOX {%d+}\r\n%s" % (len(raw), raw)))
    for tag in tags:
        assert (await imap.finish(tag)).status == "OK"
    await imap.ok(b"EXAMINE INBOX")
    answer = await imap.ok(b"UID FETCH 1:* (UID BODY.PEEK[])")
    found = [literal(line[0], b"BODY[]") for line in answer.lines(rb"\* \d+ FETCH.*")]
    assert found == [b"Message-ID: <%d@example.org>\r\n\r\n" % n for n in range(30)]


async def test_a_line_may_follow_a_synchronising_body_without_waiting(server: Target) -> None:
    imap = await server()
    first = imap.start(b"APPEND INBOX {%d}" % len(MAIL))
    assert (await imap.response()).startswith(b"+")
    imap.write(MAIL + b"\r\n")
    second = imap.start(b"APPEND INBOX {%d}" % len(MAIL))
    assert (await imap.finish(first)).status == "OK"
    assert (await imap.response()).startswith(b"+")
    imap.write(MAIL + b"\r\n")
    assert (await imap.finish(second)).status == "OK"


async def test_fetching_a_missing_uid_is_ok_and_says_nothing(server: Target) -> None:
    imap = await server()
    await imap.append(b"INBOX", MAIL)
    await imap.ok(b"EXAMINE INBOX")
    answer = await imap.ok(b"UID FETCH 77 (UID BODY.PEEK[])")
    assert not answer.lines(rb"\* \d+ FETCH")


async def test_a_range_above_the_top_with_a_star_gives_the_last_message(server: Target) -> None:
    imap = await server()
    for _ in range(3):
        await imap.append(b"INBOX", MAIL)
    await imap.ok(b"EXAMINE INBOX")
    answer = await imap.ok(b"UID FETCH 9:* (UID)")
    assert uids(answer.lines(rb"\* \d+ FETCH.*")) == [3]
    assert await searched(imap, b"UID 9:*") == [3]


async def test_sets_of_uids_skip_what_is_not_there(server: Target) -> None:
    imap = await server()
    for _ in range(6):
        await imap.append(b"INBOX", MAIL)
    await imap.ok(b"SELECT INBOX")
    await imap.ok(b"UID STORE 2,4 +FLAGS.SILENT (\\Deleted)")
    assert len((await imap.ok(b"EXPUNGE")).lines(rb"\* \d+ EXPUNGE")) == 2
    answer = await imap.ok(b"UID FETCH 1:3,5 (UID)")
    assert uids(answer.lines(rb"\* \d+ FETCH.*")) == [1, 3, 5]
    assert [int(line[1]) for line in answer.lines(rb"\* (\d+) FETCH.*")] == [1, 2, 3]
    assert await searched(imap, b"ALL") == [1, 3, 5, 6]


async def test_a_uid_is_never_given_again(server: Target) -> None:
    imap = await server()
    for _ in range(3):
        await imap.append(b"INBOX", MAIL)
    await imap.ok(b"SELECT INBOX")
    await imap.ok(b"UID STORE 3 +FLAGS (\\Deleted)")
    await imap.ok(b"UID EXPUNGE 3")
    assert "4]" in (await imap.append(b"INBOX", MAIL)).text


async def test_parts_of_a_message_can_be_fetched(server: Target) -> None:
    imap = await server()
    await imap.append(b"INBOX", MAIL)
    await imap.ok(b"EXAMINE INBOX")
    items = b"(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE)] BODY.PEEK[TEXT] BODY.PEEK[]<3.10>)"
    line = (await imap.ok(b"UID FETCH 1 " + items)).one(rb"\* 1 FETCH.*")[0]
    assert literal(line, b"BODY[HEADER.FIELDS (MESSAGE-ID DATE)]") == b"Message-ID: <one@example.org>\r\n\r\n"
    assert literal(line, b"BODY[TEXT]") == b"body\r\n"
    assert literal(line, b"BODY[]<3>") == MAIL[3:13]


async def test_size_is_told_and_exact_unless_the_server_estimates(server: Target) -> None:
    imap = await server()
    await imap.append(b"INBOX", MAIL)
    await imap.ok(b"EXAMINE INBOX")
    line = (await imap.ok(b"UID FETCH 1 (RFC822.SIZE UID)")).one(rb"\* 1 FETCH.*")[0]
    found = re.search(rb"RFC822\.SIZE (\d+)", line)
    assert found
    assert (int(found[1]) == len(MAIL)) == (server.name != "outlook")


async def test_search_by_day_includes_that_day_and_not_the_one_before(server: Target) -> None:
    imap = await server()
    for day in (b"09", b"10", b"11"):
        await imap.append(b"INBOX", MAIL, b'"' + day + b'-Mar-2021 12:00:00 +0000"')
    await imap.ok(b"EXAMINE INBOX")
    assert await searched(imap, b"SINCE 10-Mar-2021") == [2, 3]
    assert await searched(imap, b"BEFORE 10-Mar-2021") == [1]
    assert await searched(imap, b"UID 2:* SINCE 9-Mar-2021 BEFORE 11-Mar-2021") == [2]


async def test_search_by_header_finds_the_message_id(server: Target) -> None:
    imap = await server()
    await imap.append(b"INBOX", b"Message-ID: <two@example.org>\r\n\r\n")
    await imap.append(b"INBOX", MAIL)
    await imap.ok(b"EXAMINE INBOX")
    assert await searched(imap, b"HEADER Message-ID <one@example.org>") == [2]
    assert await searched(imap, b"NOT HEADER Message-ID one@") == [1]
    assert await searched(imap, b"OR HEADER Message-ID one@ HEADER Message-ID two@") == [1, 2]
    assert await searched(imap, b"UNSEEN NOT UID 1") == [2]


async def test_copy_and_move_keep_bytes_and_tell_uids(server: Target) -> None:
    imap = await server()
    await imap.ok(b"CREATE Kept")
    for _ in range(2):
        await imap.append(b"INBOX", MAIL)
    await imap.ok(b"SELECT INBOX")
    assert re.match(r"\[COPYUID \d+ 1 1\]", (await imap.ok(b"UID COPY 1 Kept")).text)
    moved = await imap.ok(b"UID MOVE 1:2 Kept")
    assert moved.lines(rb"\* OK \[COPYUID \d+ (1:2|1,2) (2:3|2,3)\]")
    assert len(moved.lines(rb"\* \d+ EXPUNGE")) == 2
    assert (await imap.ok(b"EXAMINE Kept")).one(rb"\* (\d+) EXISTS")[1] == b"3"
    answer = await imap.ok(b"UID FETCH 1:* (BODY.PEEK[])")
    assert [literal(line[0], b"BODY[]") for line in answer.lines(rb"\* \d+ FETCH.*")] == [MAIL] * 3


async def test_idle_pushes_what_another_connection_appends(server: Target) -> None:
    idler, other = await server(), await server()
    await idler.ok(b"EXAMINE INBOX")
    tag = idler.start(b"IDLE")
    assert (await idler.response()).startswith(b"+")
    for n in (1, 2):
        assert (await other.append(b"INBOX", MAIL)).status == "OK"
        while (line := await idler.response()) != b"* %d EXISTS\r\n" % n:
            assert line.startswith(b"* ")
    idler.write(b"DONE\r\n")
    assert (await idler.finish(tag)).status == "OK"
    assert await searched(idler, b"ALL") == [1, 2]


async def test_what_arrives_is_announced_by_the_next_noop(server: Target) -> None:
    watcher, other = await server(), await server()
    await watcher.ok(b"EXAMINE INBOX")
    await other.append(b"INBOX", MAIL)
    assert (await watcher.ok(b"NOOP")).lines(rb"\* 1 EXISTS")


async def test_what_another_connection_expunges_is_announced_by_noop(server: Target) -> None:
    watcher, other = await server(), await server()
    for _ in range(3):
        await other.append(b"INBOX", MAIL)
    await watcher.ok(b"EXAMINE INBOX")
    await other.ok(b"SELECT INBOX")
    await other.ok(b"UID STORE 1:2 +FLAGS (\\Deleted)")
    await other.ok(b"EXPUNGE")
    assert len((await watcher.ok(b"NOOP")).lines(rb"\* \d+ EXPUNGE")) == 2
    assert uids((await watcher.ok(b"UID FETCH 1:* (UID)")).lines(rb"\* 1 FETCH.*")) == [3]


async def test_message_numbers_do_not_shift_under_a_fetch_by_number(server: Target) -> None:
    watcher, other = await server(), await server()
    for _ in range(3):
        await other.append(b"INBOX", MAIL)
    await watcher.ok(b"EXAMINE INBOX")
    await other.ok(b"SELECT INBOX")
    await other.ok(b"UID STORE 1 +FLAGS (\\Deleted)")
    await other.ok(b"EXPUNGE")
    answer = await watcher.ok(b"FETCH 3 (UID)")
    assert uids(answer.lines(rb"\* 3 FETCH.*")) == [3]
    assert not answer.lines(rb"\* \d+ EXPUNGE")
    assert len((await watcher.ok(b"NOOP")).lines(rb"\* 1 EXPUNGE")) == 1


async def test_a_command_inside_idle_is_bad(server: Target) -> None:
    imap = await server()
    await imap.ok(b"EXAMINE INBOX")
    tag = imap.start(b"IDLE")
    assert (await imap.response()).startswith(b"+")
    imap.write(b"a99 NOOP\r\n")
    assert (await imap.finish(tag)).status == "BAD"


async def test_bad_syntax_is_bad_and_the_next_command_works(server: Target) -> None:
    imap = await server()
    await imap.append(b"INBOX", MAIL)
    await imap.ok(b"EXAMINE INBOX")
    for command in (b"UID FETCH", b"UID FETCH abc (UID)", b"UID SEARCH SINCE tomorrow", b"STATUS INBOX ()"):
        assert (await imap.do(command)).status == "BAD"
    assert (await imap.do(b"NOOP")).status == "OK"
