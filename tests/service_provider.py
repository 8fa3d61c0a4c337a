"""Google's and Microsoft's token endpoints for service accounts, as strict as theirs: signatures are
checked by another library than the one that makes them."""

from __future__ import annotations

import hashlib
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

GOOGLE_SCOPE = "https://mail.google.com/"
MICROSOFT_SCOPE = "https://outlook.office365.com/.default"
SERVICE = "copier@project.iam.gserviceaccount.example"
NUMBER = "112233445566778899001"
KEY_ID = "0123456789abcdef0123456789abcdef01234567"
APPLICATION = "11111111-2222-3333-4444-555555555555"
SECRET = "client~secret-canary.value"
# Made once: a key takes a fifth of a second.
KEY, STRANGER = (rsa.generate_private_key(65537, 2048) for _ in range(2))
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = KEY) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def google_key(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = KEY, **changes: object) -> str:
    """The file that Google lets an administrator download."""
    fields: dict[str, object] = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": KEY_ID,
        "private_key": pem(key),
        "client_email": SERVICE,
        "client_id": NUMBER,
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps(fields | changes, indent=2) + "\n"


def certificate(key: rsa.RSAPrivateKey = KEY) -> str:
    """What `openssl req -x509` writes."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mailsyncd")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=30))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


CERTIFICATE = certificate()


@dataclass
class ServiceProvider:
    """`mint` makes the access token of a user. `scopes` is what was delegated, `mailboxes` who there is,
    `ahead` how far the provider's clock is ahead of this machine's. Assertions are kept."""

    mint: Callable[[str], str] = lambda user: f"token-of-{user}"
    scopes: set[str] = field(default_factory=lambda: {GOOGLE_SCOPE})
    mailboxes: set[str] = field(default_factory=lambda: {"me@company.example"})
    ahead: float = 0.0
    url: str = ""
    forms: list[dict[str, str]] = field(default_factory=list)
    # For whom an application's token is: an application has all mailboxes, a test's Dovecot has users.
    application_user: str = "me@company.example"

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        self.forms.append(form)
        if path == "/google":
            return self._google(form)
        return self._microsoft(form)

    def _google(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return _no("unsupported_grant_type", "Invalid grant_type: " + form.get("grant_type", ""))
        try:
            found = jwt.decode(form["assertion"], RSAKey.import_key(public_pem(KEY)), algorithms=["RS256"])
        except (JoseError, ValueError):
            return _no("invalid_grant", "Invalid JWT Signature.")
        claims, now = found.claims, time.time() + self.ahead
        if found.header.get("kid") != KEY_ID or claims["iss"] != SERVICE:
            return _no("invalid_grant", "Invalid JWT Signature.")
        if claims["aud"] != f"{self.url}/google":
            return _no("invalid_grant", "Invalid JWT: Failed audience check.")
        if not claims["iat"] - 60 <= now <= claims["exp"] <= claims["iat"] + 3600:
            text = (
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            )
            return _no("invalid_grant", text)
        if not set(claims["scope"].split()) <= self.scopes:
            text = (
                "Client is unauthorized to retrieve access tokens using this method, or client not authorized"
            )
            return _no("unauthorized_client", text, 401)
        if claims["sub"] not in self.mailboxes:
            return _no("invalid_grant", "Invalid email or User ID")
        return self._granted(claims["sub"])

    def _microsoft(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        if form.get("grant_type") != "client_credentials":
            return _no("unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type")
        if form.get("client_id") != APPLICATION:
            return _no("unauthorized_client", "AADSTS700016: Application was not found in the directory")
        if form.get("scope") != MICROSOFT_SCOPE:
            return _no("invalid_scope", "AADSTS1002012: The provided value for scope is not valid.")
        if "client_assertion" not in form:
            if form.get("client_secret") != SECRET:
                return _no("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401)
            return self._granted(self.application_user)
        try:
            key = RSAKey.import_key(public_pem(KEY))
            found = jwt.decode(form["client_assertion"], key, algorithms=["PS256"])
        except (JoseError, ValueError):
            return _no("invalid_client", "AADSTS700027: Client assertion failed signature validation.", 401)
        octets = x509.load_pem_x509_certificate(CERTIFICATE.encode()).public_bytes(Encoding.DER)
        known = urlsafe_b64encode(hashlib.sha256(octets).digest()).rstrip(b"=").decode()
        wanted = (known, APPLICATION, APPLICATION, f"{self.url}/microsoft")
        claims = found.claims
        if (found.header.get("x5t#S256"), claims["iss"], claims["sub"], claims["aud"]) != wanted:
            return _no("invalid_client", "AADSTS50027: JWT token is invalid or malformed.", 401)
        now = time.time() + self.ahead
        if not claims["nbf"] - 300 <= now <= claims["exp"] + 300 or not claims["jti"]:
            return _no("invalid_client", "AADSTS700024: Client assertion is not within its valid time", 401)
        return self._granted(self.application_user)

    def _granted(self, user: str) -> tuple[int, dict[str, object]]:
        return 200, {"access_token": self.mint(user), "expires_in": 3599, "token_type": "Bearer"}

    @contextmanager
    def serve(self) -> Iterator[ServiceProvider]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(text).items()}
                status, answer = provider.answer(self.path, form)
                body = json.dumps(answer).encode()
                self.send_response_only(status)
                self.send_header("Date", formatdate(time.time() + provider.ahead, usegmt=True))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def public_pem(key: rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _no(error: str, description: str, status: int = 400) -> tuple[int, dict[str, object]]:
    return status, {"error": error, "error_description": description}
