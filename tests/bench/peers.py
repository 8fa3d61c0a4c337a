"""What each copier has to be told to bring one folder up to date, once. Each gets the same task."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import daemon

FOLDER = "Gmail/src1"


@dataclass(frozen=True, slots=True)
class Task:
    """INBOX of one user into FOLDER of another. `directory` is the copier's own, also for its next run."""

    directory: Path
    source_port: int
    source_user: str
    port: int
    user: str
    state: str = daemon.SQLITE
    profile: daemon.Profile | None = None


def mailsyncd(task: Task) -> list[str]:
    route = daemon.Route(task.source_user, FOLDER, task.source_port)
    daemon.configure(task.directory, task.port, task.user, [route], state=task.state)
    return daemon.command("run-once", profile=task.profile)


def raw(task: Task) -> list[str]:
    ports = ["--source-port", str(task.source_port), "--port", str(task.port)]
    users = ["--source-user", task.source_user, "--user", task.user, "--folder", FOLDER]
    return [sys.executable, str(Path(__file__).with_name("raw.py")), *ports, *users]


def mbsync(task: Task) -> list[str]:
    account = """
IMAPAccount {name}
Host 127.0.0.1
Port {port}
User {user}
Pass pw
SSLType None
AuthMechs PLAIN

IMAPStore {name}
Account {name}
"""
    channel = f"""
Channel one
Far :src:INBOX
Near :dst:{FOLDER}
Sync Pull New
Create Near
Expunge None
CopyArrivalDate yes
SyncState {task.directory}/state-
"""
    source = account.format(name="src", port=task.source_port, user=task.source_user)
    destination = account.format(name="dst", port=task.port, user=task.user)
    path = task.directory / "mbsyncrc"
    path.write_text(source + destination + channel)
    return ["mbsync", "-c", str(path), "one"]


def imapfilter(task: Task) -> list[str]:
    """It keeps no state: what is new is what it has not flagged itself, in the source."""
    server = "IMAP {{ server = '127.0.0.1', port = {}, username = '{}', password = 'pw' }}"
    path = task.directory / "config.lua"
    path.write_text(f"""
options.timeout = 120
options.create = true
options.subscribe = false
options.namespace = false
options.starttls = false
options.certificates = false
source = {server.format(task.source_port, task.source_user)}
destination = {server.format(task.port, task.user)}
destination:create_mailbox('{FOLDER}')
new = source.INBOX:has_unkeyword('copied')
if #new > 0 then
  new:copy_messages(destination['{FOLDER}'])
  new:add_flags({{ 'copied' }})
end
""")
    return ["imapfilter", "-c", str(path)]


PEERS: dict[str, Callable[[Task], list[str]]] = {
    "raw": raw,
    "mbsync": mbsync,
    "mailsyncd": mailsyncd,
    "imapfilter": imapfilter,
}
STATELESS = ("raw",)


def installed(names: list[str]) -> list[str]:
    """Those that this machine has; says which it leaves out."""
    has = [name for name in names if PEERS[name] in (mailsyncd, raw) or shutil.which(name)]
    for name in names:
        if name not in has:
            print(f"{name}: not installed, left out", flush=True)
    return has
