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


@pytest.fixture
def certificate() -> str:
    """A certificate that nobody has the key of."""
    return """-----BEGIN CERTIFICATE-----
MIIBNjCB6aADAgECAhRtjfXACCL5YHPM27vOHJbI90m8BTAFBgMrZXAwEDEOMAwG
A1UEAwwFdGVzdHMwIBcNMjYxMTIxMDY1NDQyWhgPMjEyNjEwMjgwNjU0NDJaMBAx
DjAMBgNVBAMMBXRlc3RzMCowBQYDK2VwAyEAMdYAuuEXtHXS4L7iAiWxmo8QXA1E
L0YwN0sgN+KgMnKjUzBRMB0GA1UdDgQWBBRtPBXK23rJjJSjV2fBskkLfB+6ojAf
BgNVHSMEGDAWgBRtPBXK23rJjJSjV2fBskkLfB+6ojAPBgNVHRMBAf8EBTADAQH/
MAUGAytlcANBAKaljs+wWxaJ1/k+4oCDfsms73SO/bm8+9Ww6tV2asdFDAQJ+D9y
bD+lHQT5qmwx4i1W+oTz6ibuzn/JfmP91AU=
-----END CERTIFICATE-----
"""
