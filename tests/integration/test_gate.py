"""The state store comes first (I1): without its answer nothing is connected to, and nothing copied."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bed import Bed, Route, until
from corpus import varied
from mailboxes import SAME, Comparison
from wire import wire_to

sys.path.insert(0, str(Path(__file__).parents[1] / "contract" / "state"))
from engines import moto

pytestmark = pytest.mark.real
ANN = Route("src1", "Gmail/src1")
SOON = 60.0  # seconds for the program to give up


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with moto() as url:
        yield url


@contextmanager
def answering(kind: str) -> Iterator[str]:
    """What takes every request for one it must refuse, in DynamoDB's words."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps({"__type": f"com.amazon.coral.service#{kind}", "message": "no"}).encode()
            self.send_response(400)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def credentials(bed: Bed) -> None:
    bed.environ |= {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "hush-hush"}


def dynamodb(url: str, table: str) -> str:
    return f'backend = "dynamodb"\nregion = "us-west-2"\nendpoint_url = "{url}"\ntable = "{table}"'


def shut_out(bed: Bed, state: str, *, says: str) -> None:
    """Both commands end with 75 and one clear line; no port of either mailbox was knocked at."""
    with wire_to(bed.source.tls_port) as source, wire_to(bed.destination.tls_port) as destination:
        text = bed.configure(ANN, state=state).read_text()
        text = text.replace(str(bed.source.tls_port), str(source.port))
        text = text.replace(str(bed.destination.tls_port), str(destination.port))
        (bed.directory / "config.toml").write_text(text)
        for command in ("run", "run-once"):
            ended = bed.cli(command, "--config", "config.toml", timeout=SOON)
            assert (ended.returncode, ended.stdout) == (75, "")
            (line,) = ended.stderr.splitlines()
            assert line.startswith("mailsyncd: ")
            assert says in line
            assert "hush-hush" not in line
        assert source.said + destination.said == []


def test_a_table_that_is_not_there(bed: Bed, engine: str) -> None:
    credentials(bed)
    shut_out(bed, dynamodb(engine, "no-such-table"), says="run `mailsyncd state init`")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("AccessDeniedException", "AWS denies dynamodb:"),
        ("ExpiredTokenException", "the AWS credentials have expired"),
        ("UnrecognizedClientException", "AWS does not know these credentials"),
    ],
)
def test_credentials_that_do_not_do(bed: Bed, kind: str, says: str) -> None:
    credentials(bed)
    with answering(kind) as url:
        shut_out(bed, dynamodb(url, "mailsyncd"), says=says)


def test_no_credentials_at_all(bed: Bed) -> None:
    bed.environ |= {"AWS_EC2_METADATA_DISABLED": "true"}
    shut_out(bed, dynamodb("http://127.0.0.1:9", "mailsyncd"), says="there are no AWS credentials")


def test_a_directory_in_the_place_of_the_file(bed: Bed) -> None:
    (bed.directory / "state.db").mkdir()
    shut_out(bed, 'path = "state.db"', says="state.db")


def test_a_store_that_goes_away_stops_the_copying_and_in_the_end_the_daemon(bed: Bed, engine: str) -> None:
    credentials(bed)
    with wire_to(int(engine.rpartition(":")[2])) as store:
        state = dynamodb(f"http://127.0.0.1:{store.port}", "comes-and-goes")
        bed.configure(ANN, state=f'{state}\ngrace = "5s"')
        assert bed.cli("state", "init", "--config", "config.toml").returncode == 0
        with bed.daemon() as daemon:
            daemon.await_event("route.connected")
            store.dark = True
            store.cut()
            bed.deliver("src1", varied(1, 3))
            daemon.await_event("state.unavailable")
            assert bed.count("Gmail/src1") == 0
            store.dark = False
            daemon.await_event("message.copied", 3)
            assert daemon.events("state.available")
            store.dark = True
            store.cut()
            bed.deliver("src1", varied(2, 2))
            until(lambda: daemon.process.poll() is not None, SOON)
            assert daemon.process.returncode == 75
            last = daemon.log.read_text().splitlines()[-1]
            assert last.startswith("mailsyncd: DynamoDB table comes-and-goes")
        assert bed.count("Gmail/src1") == 3
        store.dark = False
        assert bed.once()["copied"] == 2
    assert Comparison.of(bed.sent("src1"), bed.copies("Gmail/src1")) == SAME
