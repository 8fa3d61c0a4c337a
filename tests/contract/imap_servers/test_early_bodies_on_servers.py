"""New mail, its listing and its text in one flight, from every server."""

from __future__ import annotations

from imap_targets import Target
from test_marks_on_servers import WHEN, source

from mailsyncd.imap.early import WHOLE
from mailsyncd.sim.corpus import corpus


async def test_new_mail_is_read_as_it_was_whether_it_came_with_its_listing_or_not(server: Target) -> None:
    imap = await server()
    long = b"Subject: long\r\n\r\n" + b"123456\r\n" * (WHOLE // 8)
    bodies = [long[: WHOLE + more - 2] + b"\r\n" for more in (-1, 0, 1)]
    bodies += [mail.raw for mail in corpus(5, 10)]
    assert (await imap.append(b"INBOX", b"known\r\n", b'"%s"' % (WHEN % 1).encode())).status == "OK"
    async with source(server).session() as session:
        for body in bodies:
            assert (await imap.append(b"INBOX", body, b'"%s"' % (WHEN % 2).encode())).status == "OK"
        await session.wait(5)
        listed = await session.newest(1)
        assert [one.uid for one in listed] == list(range(2, 2 + len(bodies)))
        read = dict([one async for one in session.read([one.uid for one in listed])])
    assert [read[one.uid] for one in listed] == bodies
