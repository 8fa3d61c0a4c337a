"""FileTokenKeeper on a real file system: modes, crashes, full disks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mailsyncd.account import Secret
from mailsyncd.auth.keeper import FileTokenKeeper
from mailsyncd.errors import RouteBlocked, Transient

USER = "me@example.org"
CONFIGURED = Secret("configured-canary")
KEPT = Secret("kept-canary")


@pytest.fixture
def keeper(tmp_path: Path) -> FileTokenKeeper:
    return FileTokenKeeper(tmp_path / "state" / "tokens")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_files_are_for_their_owner_only_whatever_the_umask(keeper: FileTokenKeeper) -> None:
    before = os.umask(0)
    try:
        await keeper.save(USER, CONFIGURED, KEPT)
    finally:
        os.umask(before)
    assert mode(keeper.path(USER)) == 0o600
    assert mode(keeper.path(USER).parent) == 0o700


async def test_the_configured_token_is_in_the_file_as_a_salted_hash_only(keeper: FileTokenKeeper) -> None:
    await keeper.save(USER, CONFIGURED, KEPT)
    first = keeper.path(USER).read_bytes()
    await keeper.save(USER, CONFIGURED, KEPT)
    assert b"configured-canary" not in first
    assert first != keeper.path(USER).read_bytes()


async def test_the_name_of_the_file_tells_people_whose_it_is(keeper: FileTokenKeeper) -> None:
    assert keeper.path(USER).name.startswith("me@example.org.")


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
async def test_a_file_that_others_may_read_is_refused(keeper: FileTokenKeeper, bits: int) -> None:
    await keeper.save(USER, CONFIGURED, KEPT)
    keeper.path(USER).chmod(bits)
    with pytest.raises(RouteBlocked, match="chmod 600") as refusal:
        await keeper.load(USER, CONFIGURED)
    assert "canary" not in str(refusal.value)


async def test_a_directory_that_others_may_enter_is_refused(keeper: FileTokenKeeper) -> None:
    await keeper.save(USER, CONFIGURED, KEPT)
    keeper.path(USER).parent.chmod(0o755)
    with pytest.raises(RouteBlocked, match="chmod 700"):
        await keeper.load(USER, CONFIGURED)
    with pytest.raises(RouteBlocked, match="chmod 700"):
        await keeper.save(USER, CONFIGURED, KEPT)


async def test_a_link_in_place_of_the_file_is_not_followed(keeper: FileTokenKeeper, tmp_path: Path) -> None:
    await keeper.save(USER, CONFIGURED, KEPT)
    elsewhere = tmp_path / "elsewhere"
    keeper.path(USER).rename(elsewhere)
    keeper.path(USER).symlink_to(elsewhere)
    with pytest.raises(RouteBlocked, match="can't be read"):
        await keeper.load(USER, CONFIGURED)


async def test_a_pipe_in_place_of_the_file_does_not_hang(keeper: FileTokenKeeper) -> None:
    await keeper.save(USER, CONFIGURED, KEPT)
    keeper.path(USER).unlink()
    os.mkfifo(keeper.path(USER), 0o600)
    with pytest.raises(RouteBlocked, match="not a regular file"):
        await keeper.load(USER, CONFIGURED)


@pytest.mark.parametrize("content", [b"", b'{"refresh_to', b"[]", b"\xff\x00", b'{"refresh_token": 7}'])
async def test_a_damaged_file_is_as_good_as_none_and_is_reported(
    keeper: FileTokenKeeper, content: bytes
) -> None:
    await keeper.save(USER, CONFIGURED, KEPT)
    keeper.path(USER).write_bytes(content)
    with capture_logs() as lines:
        assert await keeper.load(USER, CONFIGURED) is None
    assert [line["event"] for line in lines] == ["token.kept_unreadable"]


async def test_what_a_crash_left_half_written_is_neither_read_nor_in_the_way(keeper: FileTokenKeeper) -> None:
    await keeper.save(USER, CONFIGURED, KEPT)
    leftover = keeper.path(USER).with_name(f".new.{keeper.path(USER).name}")
    leftover.write_bytes(b'{"refresh_token": "ha')
    assert await keeper.load(USER, CONFIGURED) == KEPT
    await keeper.save(USER, CONFIGURED, Secret("newer"))
    assert await keeper.load(USER, CONFIGURED) == Secret("newer")
    assert os.listdir(keeper.path(USER).parent) == [keeper.path(USER).name]


@pytest.mark.parametrize("call", ["os.fsync", "os.open", "pathlib.Path.rename"])
async def test_a_write_that_fails_anywhere_leaves_the_old_token(
    keeper: FileTokenKeeper, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    await keeper.save(USER, CONFIGURED, KEPT)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(call, full)
        with pytest.raises(Transient, match="No space left") as refusal:
            await keeper.save(USER, CONFIGURED, Secret("newer-canary"))
    assert "canary" not in str(refusal.value)
    assert await keeper.load(USER, CONFIGURED) == KEPT
    assert os.listdir(keeper.path(USER).parent) == [keeper.path(USER).name]


async def test_a_directory_that_cannot_be_made_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Transient, match=r"can't be kept in .*file"):
        await FileTokenKeeper(tmp_path / "file" / "tokens").save(USER, CONFIGURED, KEPT)
