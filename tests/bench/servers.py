"""Two Dovecots on tmpfs, Gmail's capabilities at the source and Outlook's at the destination, and
mailboxes that are made by copying a filled one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from dovecot import Dovecot
from mailboxes import Comparison, Plain

from bench.corpus import Mail, corpus

SHM = Path("/dev/shm")


@dataclass
class Servers:
    directory: Path
    source: Dovecot
    destination: Dovecot
    _templates: dict[tuple[int, int | None], str] = field(default_factory=dict)
    _number: int = 0

    def mailbox(self, count: int, size: int | None = None) -> str:
        """A new user of the source, with that many messages of the corpus in INBOX."""
        template = self._templates.get((count, size))
        if template is None:
            template = self._templates[count, size] = self.user("template")
            self.deliver(template, corpus(count, size=size))
        user = self.user("src")
        mail = self.source.directory / "mail"
        subprocess.run(["cp", "-a", str(mail / template), str(mail / user)], check=True)
        return user

    def user(self, prefix: str) -> str:
        """A name that nobody has yet; Dovecot knows them all."""
        self._number += 1
        return f"{prefix}{self._number}"

    def deliver(self, user: str, mail: Iterable[Mail], folder: str = "INBOX") -> None:
        with Plain(self.source.port, user) as box:
            box.command(f'SELECT "{folder}"')  # without it Dovecot opens the folder for each
            box.append_all(folder, ((one.raw, one.received, one.flags) for one in mail))

    def count(self, user: str, folder: str) -> int:
        """How many messages the destination has, by STATUS."""
        with Plain(self.destination.port, user) as box:
            try:
                ((text, _),) = box.command(f'STATUS "{folder}" (MESSAGES)')
            except RuntimeError:
                return 0
            return int(text.rpartition(b"MESSAGES ")[2].split(b")")[0])

    def compare(self, source_user: str, user: str, folder: str) -> Comparison:
        """INBOX and a folder of the destination: by bytes and INTERNALDATE."""
        with Plain(self.source.port, source_user) as sent, Plain(self.destination.port, user) as copies:
            return Comparison.of(sent.messages("INBOX"), copies.messages(folder))

    def forget(self, source_user: str, user: str) -> None:
        """Give the memory back."""
        shutil.rmtree(self.source.directory / "mail" / source_user, ignore_errors=True)
        shutil.rmtree(self.destination.directory / "mail" / user, ignore_errors=True)


@contextmanager
def servers(*, tls: bool = False) -> Iterator[Servers]:
    """Their mail is gone at the end."""
    if SHM.is_dir() and os.access(SHM, os.W_OK):
        tempfile.tempdir = str(SHM)  # so that no disk is measured
    with TemporaryDirectory(prefix="mb-", ignore_cleanup_errors=True) as temporary:
        here = Path(temporary).resolve()
        for name in ("src", "dst", "work"):
            (here / name).mkdir()
        with (
            Dovecot.run(here / "src", profile="gmail", tls=tls) as source,
            Dovecot.run(here / "dst", profile="outlook", tls=tls) as destination,
        ):
            yield Servers(here / "work", source, destination)
