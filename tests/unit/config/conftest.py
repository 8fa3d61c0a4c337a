"""A configuration that is good, and ways to break it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mailsyncd.config.load import Loaded, load


@pytest.fixture
def load_text(tmp_path: Path) -> Callable[..., Loaded]:
    """load(), of a text as config.toml; the environment is only what is given."""

    def from_text(text: str, environ: Mapping[str, str] | None = None) -> Loaded:
        path = tmp_path / "config.toml"
        path.write_bytes(text.encode())
        return load(path, {"HOME": str(tmp_path), **(environ or {})})

    return from_text
