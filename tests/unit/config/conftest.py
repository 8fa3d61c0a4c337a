"""A configuration that is good, and ways to break it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mailsyncd.config.load import Loaded, load


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Short, unlike pytest's own under xdist: the default socket lies in it, and its path must be."""
    with TemporaryDirectory(prefix="c-") as directory:
        yield Path(directory).resolve()


@pytest.fixture
def load_text(tmp_path: Path) -> Callable[..., Loaded]:
    """load(), of a text as config.toml; the environment is only what is given."""

    def from_text(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
        path = tmp_path / "config.toml"
        path.write_bytes(text.encode())
        return load(path, {"HOME": str(tmp_path), **(environ or {})})

    return from_text
