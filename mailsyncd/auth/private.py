"""Files that hold a secret: mode 0600 in a directory of mode 0700, written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mailsyncd.errors import RouteBlocked

LONGEST_FILE = 64 * 1024


def own_directory(directory: Path) -> None:
    """Make sure of a directory that only its owner can enter. Raises RouteBlocked, OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_if_open(directory, directory.stat(), "700")


def _refuse_if_open(path: Path, found: os.stat_result, mode: str) -> None:
    if found.st_mode & 0o077:
        raise RouteBlocked(f"{path} is open to other users: chmod {mode} {path}")


def read_private(path: Path) -> bytes:
    """The content of a file that only its owner can read. Raises RouteBlocked, OSError."""
    _refuse_if_open(path.parent, path.parent.stat(), "700")
    return read_guarded(path, os.O_NOFOLLOW)


def read_guarded(path: Path, flags: int = 0) -> bytes:
    """The content of a file that only its owner can read, in whatever directory it is. Raises
    RouteBlocked, OSError."""
    # At once: a named pipe would hold up the caller for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    with open(handle, "rb") as file:
        found = os.fstat(handle)
        _refuse_if_open(path, found, "600")
        if not stat.S_ISREG(found.st_mode):
            raise RouteBlocked(f"{path} is not a regular file: remove it")
        return file.read(LONGEST_FILE)


def write_private(path: Path, content: bytes, *, owned_like: os.stat_result | None = None) -> None:
    """Whole or not at all, and on the disk before it returns. `owned_like`: whose it is to be, where
    root writes what a service's user has to read."""
    temporary = path.with_name(f".new.{path.name}")
    temporary.unlink(missing_ok=True)  # a crash may have left it
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            if owned_like and (owned_like.st_uid, owned_like.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), owned_like.st_uid, owned_like.st_gid)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
