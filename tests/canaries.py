"""Looking for secrets where none may be: the forms they take, and the list of processes."""

from __future__ import annotations

import base64
import threading
from pathlib import Path
from urllib.parse import quote


def forms(secret: str) -> set[str]:
    """As it may turn up: plain, percent-encoded, or the part of its base64 that stays the same wherever in
    a longer text it stands, in either alphabet."""
    found = {secret, quote(secret, safe="")}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode()).rstrip(b"=").decode()
        inner = encoded[(before * 8 + 5) // 6 : len(encoded) - 1]
        found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return found


def shown(secrets: list[str], where: dict[str, str]) -> list[tuple[str, int]]:
    """Which place shows which of the secrets, by its number: a failing test shows none either."""
    assert all(len(secret) >= 8 for secret in secrets)
    return [
        (place, number)
        for place, text in where.items()
        for number, secret in enumerate(secrets)
        if any(form in text for form in forms(secret))
    ]


class ProcessList:
    """Every command line that shows while it is entered."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> ProcessList:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:  # it has ended
                    continue
