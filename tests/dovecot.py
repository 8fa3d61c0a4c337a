"""A throw-away Dovecot, as root or not, and a token endpoint whose tokens it believes."""

from __future__ import annotations

import base64
import grp
import hashlib
import hmac
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs

PROGRAM = shutil.which("dovecot") or "/usr/sbin/dovecot"
START_TIMEOUT = 20.0
PROFILES = {
    "full": "",
    "gmail": "IMAP4rev1 SASL-IR ID UNSELECT IDLE NAMESPACE CHILDREN UIDPLUS ENABLE MOVE ESEARCH LITERAL-",
    "outlook": "IMAP4rev1 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
    "bare": "IMAP4rev1 SASL-IR",
}


def available() -> bool:
    """Whether this machine has Dovecot 2.3 with IMAP, and openssl."""
    return (
        Path(PROGRAM).exists()
        and shutil.which("openssl") is not None
        and Path("/usr/lib/dovecot/imap").exists()
    )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Dovecot:
    """Every user name is good, with the password or a token; mail lies under `directory`/mail/<user>."""

    directory: Path
    port: int
    tls_port: int
    host: str = "localhost"
    password: str = "pw"
    secret: bytes = field(default=b"", repr=False)
    # Where to ask whose a token is, and the scope it must have; else tokens are those of token().
    introspection: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def ca_file(self) -> Path:
        return self.directory / "cert.pem"

    @classmethod
    @contextmanager
    def run(
        cls,
        directory: Path,
        *,
        profile: str = "full",
        tls: bool = False,
        introspection: tuple[str, str] | None = None,
    ) -> Iterator[Dovecot]:
        """Start one in an empty directory; it is gone at the end."""
        directory = directory.resolve()
        if os.geteuid() == 0:  # Dovecot's own user has to get through
            temporary = Path(tempfile.gettempdir()).resolve()
            for path in (directory, *directory.parents):
                if path != temporary and path.is_relative_to(temporary):
                    path.chmod(0o755)
        made = cls(
            directory,
            free_port(),
            free_port(),
            secret=hashlib.sha256(str(directory).encode()).digest(),
            introspection=introspection,
        )
        made._configure(profile, tls)
        with (directory / "stderr.log").open("wb") as log:
            process = subprocess.Popen(
                [PROGRAM, "-F", "-c", str(directory / "dovecot.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            made._await_greeting(process)
            yield made
        finally:
            # Asked to stop, it would take a second over it; all its processes are in this session.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def token(self, user: str, ttl: int = 3600) -> str:
        """An access token that this server takes until it expires; a negative `ttl` has expired."""
        now = int(time.time())
        head = _base64url(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        claims = {"sub": user, "iss": "tests", "iat": now - 4000, "nbf": now - 4000, "exp": now + ttl}
        body = _base64url(json.dumps(claims).encode())
        signature = _base64url(hmac.new(self.secret, head + b"." + body, hashlib.sha256).digest())
        return b".".join((head, body, signature)).decode()

    def log(self) -> str:
        """What the server wrote down."""
        return (self.directory / "log" / "dovecot.log").read_text(errors="replace")

    def commands(self, user: str) -> list[str]:
        """Every command line that signed-in clients of this user have sent, without its tag; but not
        those of mailboxes.Plain, whose tags are t1, t2 and so on."""
        lines: list[str] = []
        for path in sorted((self.directory / "raw" / user).glob("*.in")):
            sent = [re.sub(rb"^\d+\.\d+ ", b"", line) for line in path.read_bytes().splitlines()]
            if sent and not re.match(rb"t\d+ ", sent[0]):
                lines += [(line.partition(b" ")[2] or line).decode("latin-1") for line in sent]
        return lines

    def raw_log_for(self, user: str) -> None:
        """Keep the command lines of this user from now on."""
        path = self.directory / "raw" / user
        path.mkdir(parents=True)
        self._give(path.parent)
        self._give(path)

    def renumber(self, user: str) -> None:
        """Change INBOX's UIDVALIDITY, as restoring a mailbox from a backup does."""
        maildir = self.directory / "mail" / user / "Maildir"
        uidlist = maildir / "dovecot-uidlist"
        text = uidlist.read_text()
        uidlist.write_text(re.sub(r"V(\d+)", lambda match: f"V{int(match[1]) + 7}", text, count=1))
        for path in maildir.glob("dovecot.index*"):
            path.unlink()

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("dovecot")
            os.chown(path, owner.pw_uid, owner.pw_gid)

    def _configure(self, profile: str, tls: bool) -> None:
        keys = self.directory / "jwt" / "default" / "HS256"
        keys.mkdir(parents=True)
        (keys / "default").write_text(base64.b64encode(self.secret).decode())
        (self.directory / "oauth2.conf.ext").write_text("username_attribute = sub\n" + self._judging())
        if tls:
            self._make_certificate()
        for name in ("run", "state", "log", "mail"):
            (self.directory / name).mkdir()
            self._give(self.directory / name)
        (self.directory / "dovecot.conf").write_text(self._settings(profile, tls))

    def _judging(self) -> str:
        """How tokens are judged."""
        if self.introspection is None:
            keys = f"fs:posix:prefix={self.directory}/jwt/"
            return f"introspection_mode = local\nlocal_validation_key_dict = {keys}\n"
        url, scope = self.introspection
        return (
            f"introspection_mode = post\nintrospection_url = {url}\nforce_introspection = yes\n"
            f"active_attribute = active\nactive_value = true\nscope = {scope}\n"
        )

    def _make_certificate(self) -> None:
        key, names = self.directory / "key.pem", "subjectAltName=DNS:localhost,IP:127.0.0.1"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ]
        command += ["-days", "30", "-subj", "/CN=localhost", "-addext", names]
        subprocess.run(
            [*command, "-keyout", str(key), "-out", str(self.ca_file)], check=True, capture_output=True
        )

    def _settings(self, profile: str, tls: bool) -> str:
        root = os.geteuid() == 0
        me = pwd.getpwuid(os.geteuid())
        internal, login = ("dovecot", "dovenull") if root else (me.pw_name, me.pw_name)
        group = grp.getgrgid(pwd.getpwnam("dovecot").pw_gid if root else me.pw_gid).gr_name
        here = self.directory
        certificate = (
            f"ssl = yes\nssl_cert = <{here}/cert.pem\nssl_key = <{here}/key.pem" if tls else "ssl = no"
        )
        capability = f"imap_capability = {PROFILES[profile]}" if PROFILES[profile] else ""
        return f"""
base_dir = {here}/run
state_dir = {here}/state
instance_name = mailsyncd-tests-{self.port}
log_path = {here}/log/dovecot.log
protocols = imap
listen = 127.0.0.1
default_internal_user = {internal}
default_internal_group = {group}
default_login_user = {login}
first_valid_uid = 1
first_valid_gid = 1
default_vsz_limit = 0
default_process_limit = 500
default_client_limit = 2000
{certificate}
disable_plaintext_auth = no
auth_mechanisms = plain login xoauth2 oauthbearer
auth_failure_delay = 1 secs
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {here}/oauth2.conf.ext
}}
passdb {{
  driver = static
  mechanisms = plain login
  args = password={self.password}
}}
userdb {{
  driver = static
  args = uid={internal} gid={group} home={here}/mail/%u
}}
mail_location = maildir:~/Maildir
mail_fsync = never
mail_max_userip_connections = 500
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service imap-login {{
  chroot =
  service_count = 0
  process_min_avail = 1
  inet_listener imap {{
    port = {self.port}
  }}
  inet_listener imaps {{
    port = {self.tls_port if tls else 0}
    ssl = yes
  }}
}}
protocol imap {{
  rawlog_dir = {here}/raw/%u
  {capability}
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
"""

    def _await_greeting(self, process: subprocess.Popen[bytes]) -> None:
        ends = time.monotonic() + START_TIMEOUT
        while time.monotonic() < ends and process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                    sock.settimeout(5)
                    if sock.recv(100).startswith(b"* OK"):
                        return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"Dovecot did not start: {(self.directory / 'stderr.log').read_text()}")


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


@contextmanager
def token_endpoint(servers: dict[str, Dovecot], *, lifetime: int = 3600) -> Iterator[str]:
    """An OAuth token endpoint: the refresh token "r-<user>" gives access tokens for <user>, which
    the servers named by user believe. "r-revoked-..." is a dead grant."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            form = parse_qs(self.rfile.read(length).decode())
            user = form["refresh_token"][0].removeprefix("r-")
            if user in servers:
                answer: dict[str, object] = {
                    "access_token": servers[user].token(user, lifetime),
                    "expires_in": lifetime,
                    "token_type": "Bearer",
                }
                self._say(200, answer)
            else:
                self._say(400, {"error": "invalid_grant", "error_description": "Token has been revoked."})

        def _say(self, status: int, answer: dict[str, object]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
