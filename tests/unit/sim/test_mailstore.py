"""Mailboxes number their messages as IMAP wants it, and views number them for one session."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailsyncd.sim.mailstore import Account, MailboxExists, NoSuchMailbox, StoredMailbox, StoredMessage
from mailsyncd.sim.view import MailboxView
from mailsyncd.sim.wire import number_set

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def mailbox(count: int = 0) -> StoredMailbox:
    box = StoredMailbox("INBOX", 7)
    for n in range(count):
        box.add(StoredMessage(0, b"%d" % n, WHEN))
    return box


def test_uids_rise_and_are_never_given_twice() -> None:
    box = mailbox(3)
    box.remove(3)
    assert box.add(StoredMessage(0, b"", WHEN)).uid == 4
    assert [message.uid for message in box] == [1, 2, 4]


def test_a_new_uidvalidity_renumbers_every_message() -> None:
    box = mailbox(3)
    box.renumber(8, first_uid=11)
    assert (box.uidvalidity, box.uidnext) == (8, 14)
    assert [(message.uid, message.raw) for message in box] == [(11, b"0"), (12, b"1"), (13, b"2")]


def test_inbox_ignores_case_and_other_names_only_if_told() -> None:
    plain, folded = Account("u"), Account("u", case_insensitive=True)
    assert plain.mailbox("inBox").name == "INBOX"
    for account in (plain, folded):
        account.create("Copies")
    with pytest.raises(NoSuchMailbox):
        plain.mailbox("copies")
    assert folded.mailbox("copies").name == "Copies"
    with pytest.raises(MailboxExists):
        folded.create("COPIES")


def test_creating_a_child_creates_its_parents() -> None:
    account = Account("u")
    account.create("a/b/c")
    assert [box.name for box in account] == ["INBOX", "a", "a/b", "a/b/c"]
    assert account.has_children("a")
    assert not account.has_children("a/b/c")


def test_renaming_takes_the_children_along() -> None:
    account = Account("u")
    account.create("a/b")
    account.rename("a", "z")
    assert [box.name for box in account] == ["INBOX", "z", "z/b"]
    with pytest.raises(MailboxExists):
        account.rename("z", "INBOX")


def test_a_mailbox_made_again_has_another_uidvalidity() -> None:
    account = Account("u")
    first = account.create("a").uidvalidity
    account.delete("a")
    assert account.create("a").uidvalidity > first


def test_a_view_learns_of_news_only_when_asked() -> None:
    box = mailbox(2)
    view = MailboxView(box, read_only=True)
    box.add(StoredMessage(0, b"", WHEN))
    box.set_flags(1, ["\\Seen"])
    assert view.changed.is_set()
    assert len(view) == 2
    assert view.news() == ["* 1 FETCH (UID 1 FLAGS (\\Seen))", "* 3 EXISTS"]
    assert view.news() == []
    assert not view.changed.is_set()


def test_expunged_messages_keep_their_numbers_until_the_view_may_tell() -> None:
    box = mailbox(4)
    view = MailboxView(box, read_only=True)
    box.remove(2)
    box.remove(3)
    assert view.news(expunges=False) == []
    assert [(n, m.uid) for n, m in view.chosen(number_set("1:4"), by_uid=False)] == [(1, 1), (4, 4)]
    assert view.changed.is_set()
    assert view.news() == ["* 3 EXPUNGE", "* 2 EXPUNGE"]
    assert [(n, m.uid) for n, m in view.chosen(number_set("1:*"), by_uid=True)] == [(1, 1), (2, 4)]


def test_a_closed_view_is_forgotten() -> None:
    box = mailbox()
    view = MailboxView(box, read_only=True)
    view.close()
    box.add(StoredMessage(0, b"", WHEN))
    assert not view.changed.is_set()


@given(st.lists(st.sampled_from(["add", "remove", "flag", "tell", "tell without expunges"]), max_size=40))
def test_a_client_that_follows_the_news_ends_with_the_right_count(steps: list[str]) -> None:
    box = mailbox(3)
    view = MailboxView(box, read_only=True)
    count = 3
    for step in [*steps, "tell"]:
        uids = [message.uid for message in box]
        if step == "add":
            box.add(StoredMessage(0, b"", WHEN))
        elif step == "remove" and uids:
            box.remove(uids[len(uids) // 2])
        elif step == "flag" and uids:
            box.set_flags(uids[0], ["\\Seen"])
        elif step.startswith("tell"):
            for line in view.news(expunges=step == "tell"):
                number = int(line.split()[1])
                if line.endswith("EXPUNGE"):
                    assert 1 <= number <= count
                    count -= 1
                elif line.endswith("EXISTS"):
                    assert number > count
                    count = number
    assert count == len(box)
