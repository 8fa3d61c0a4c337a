"""FileHome on a real file system: modes, links, crashes, full disks, and who writes at the same time."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from mailsyncd.account import Secret
from mailsyncd.auth.consent import Consent, beside_file
from mailsyncd.auth.homes import FileHome
from mailsyncd.auth.private import write_private
from mailsyncd.errors import RouteBlocked, Transient

OLD, NEW = Secret("old-canary"), Secret("new-canary")
needs_a_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / "tokens"
    directory.mkdir(0o700)
    write_private(directory / "me", OLD.reveal().encode() + b"\n")
    return directory / "me"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_new_token_is_for_its_owner_only_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        assert await FileHome(path).replace(OLD, NEW) == NEW
    finally:
        os.umask(before)
    assert (path.read_text(), mode(path)) == ("new-canary\n", 0o600)
    assert mode(beside_file(path)) == 0o600
    assert await FileHome(path).read() == NEW


async def test_what_somebody_else_has_put_there_stays(path: Path) -> None:
    write_private(path, b"theirs")
    assert await FileHome(path).replace(OLD, NEW) == Secret("theirs")
    assert path.read_text() == "theirs"


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
async def test_a_file_that_others_may_read_is_refused(path: Path, bits: int) -> None:
    path.chmod(bits)
    with pytest.raises(RouteBlocked, match="chmod 600") as refusal:
        await FileHome(path).read()
    assert "canary" not in str(refusal.value)


async def test_a_directory_that_others_may_write_to_is_not_written_to(path: Path) -> None:
    path.parent.chmod(0o770)
    with pytest.raises(RouteBlocked, match="chmod go-w"):
        await FileHome(path).replace(OLD, NEW)
    assert path.read_text() == "old-canary\n"


async def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    assert await FileHome(link).replace(OLD, NEW) == NEW
    assert link.is_symlink()
    assert path.read_text() == "new-canary\n"


async def test_a_pipe_in_place_of_the_file_does_not_hang(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(RouteBlocked, match="not a regular file"):
        await FileHome(path).read()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\x00", b"two\nlines"])
async def test_what_can_be_no_token_is_refused_in_one_sentence(path: Path, content: bytes) -> None:
    write_private(path, content)
    with pytest.raises(RouteBlocked, match="holds no refresh token"):
        await FileHome(path).read()


async def test_a_file_that_is_gone_is_named(path: Path) -> None:
    path.unlink()
    with pytest.raises(RouteBlocked, match=f"{path} can't be read: No such file"):
        await FileHome(path).read()


async def test_a_crash_before_the_rename_leaves_the_old_token(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        await FileHome(path).replace(OLD, NEW)
    monkeypatch.undo()
    assert await FileHome(path).read() == OLD
    assert await FileHome(path).replace(OLD, NEW) == NEW
    assert not list(path.parent.glob(".new.*"))


async def test_a_full_disk_leaves_the_old_token_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside_file(path).write_text(Consent(1e9).text())

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Transient, match=r"can't be written: No space left") as failure:
        await FileHome(path).replace(OLD, NEW)
    assert "canary" not in str(failure.value)
    assert await FileHome(path).read() == OLD


@needs_a_user
async def test_a_directory_that_is_read_only_is_said_in_one_sentence(path: Path) -> None:
    path.parent.chmod(0o500)
    with pytest.raises(Transient, match="can't be written: Permission denied"):
        await FileHome(path).replace(OLD, NEW)
    path.parent.chmod(0o700)


async def test_another_process_that_writes_is_not_waited_for(path: Path) -> None:
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(Transient, match="by another process"):
            await FileHome(path).replace(OLD, NEW)
    finally:
        os.close(handle)
    assert await FileHome(path).replace(OLD, NEW) == NEW


async def test_the_owner_stays_the_owner_when_root_rotates(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda handle, uid, gid: owners.append((uid, gid)))
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    await FileHome(path).replace(OLD, NEW)
    assert owners[-1] == (path.stat().st_uid, path.stat().st_gid)


async def test_the_time_of_a_token_put_there_by_hand_outlives_its_rotation(path: Path) -> None:
    os.utime(path, (1_000_000_000, 1_000_000_000))
    await FileHome(path).replace(OLD, NEW)
    assert await FileHome(path).consent() == Consent(1_000_000_000.0)


async def test_a_consent_that_is_written_down_counts(path: Path) -> None:
    beside_file(path).write_text("2026-07-17T09:40:08Z testing\n")
    found = await FileHome(path).consent()
    assert found is not None
    assert found.in_testing
    assert found.text() == "2026-07-17T09:40:08Z testing"
    beside_file(path).write_text("yesterday")
    assert await FileHome(path).consent() == Consent(path.stat().st_mtime)
