"""What sets Google and Microsoft apart when somebody signs in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Provider:
    """`redirect` is where the browser comes back to; `asks` goes into the address it is sent to."""

    name: str
    redirect: str
    port: int
    asks: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    without_refresh_token: str = ""

    def redirect_at(self, port: int | None) -> str:
        return self.redirect.format(port=self.port if port is None else port)


# C7: without both of these a second consent brings no refresh token. C9: loopback by its number.
GOOGLE = Provider(
    "Google",
    "http://127.0.0.1:{port}/callback",
    8765,
    MappingProxyType({"access_type": "offline", "prompt": "consent"}),
    "remove the app's access to the Google account, then sign in again",
)

# A registered http://localhost is good for any port (RFC 8252 section 7.3), 127.0.0.1 is not.
MICROSOFT = Provider(
    "Microsoft",
    "http://localhost:{port}/callback",
    8766,
    MappingProxyType({"prompt": "select_account", "response_mode": "query"}),
    "add offline_access to the scope",
)
