"""The state store comes first (I1): without its answer nothing is connected to, and nothing copied."""

from __future__ import annotations

import json
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from bed import Bed, Route, until
from corpus import varied
from engines import moto
from mailboxes import SAME, Comparison
from wire import wire_to

pytestmark = pytest.mark.real
ANN = Route("src1", "Gmail/src1")
IN_TIME = 15.0  # seconds from a signal to the end
SOON = 60.0  # seconds for the program to give up


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with moto() as url:
        yield url


READS = {"DescribeTable", "GetItem", "Query"}


class Warden:
    """Stands before an engine, and refuses in DynamoDB's words what it is told to refuse: `kind` is the
    refusal, None for none; `reading` lets reads through all the same."""

    def __init__(self, engine: str = "") -> None:
        self.kind: str | None = None
        self.reading = False
        self.engine = engine
        self.url = ""

    def answer(self, headers: Message, body: bytes) -> tuple[int, bytes]:
        operation = headers["X-Amz-Target"].rpartition(".")[2]
        if self.kind and not (self.reading and operation in READS):
            refusal = {"__type": f"com.amazon.coral.service#{self.kind}", "message": "no"}
            return 400, json.dumps(refusal).encode()
        passed = {name: value for name, value in headers.items() if name not in ("Host", "Content-Length")}
        request = urllib.request.Request(self.engine, body, passed)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read()


@contextmanager
def warden(engine: str = "") -> Iterator[Warden]:
    it = Warden(engine)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = it.answer(self.headers, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    it.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield it
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def credentials(bed: Bed) -> None:
    bed.environ |= {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "hush-hush"}


def dynamodb(url: str, table: str) -> str:
    return f'backend = "dynamodb"\nregion = "us-west-2"\nendpoint_url = "{url}"\ntable = "{table}"'


def shut_out(bed: Bed, state: str) -> set[str]:
    """What both commands say: each one line, and ends with 75; neither mailbox was knocked at."""
    said = set[str]()
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
            assert "hush-hush" not in line
            said.add(line)
        assert source.said + destination.said == []
    return said


def test_a_table_that_is_not_there(bed: Bed, engine: str) -> None:
    credentials(bed)
    (line,) = shut_out(bed, dynamodb(engine, "no-such-table"))
    assert "run `mailsyncd state init`" in line


def test_credentials_that_do_not_do(bed: Bed) -> None:
    credentials(bed)
    sayings = {
        "AccessDeniedException": "AWS denies dynamodb:",
        "ExpiredTokenException": "the AWS credentials have expired",
        "UnrecognizedClientException": "AWS does not know these credentials",
    }
    with warden() as it:
        for it.kind, says in sayings.items():
            (line,) = shut_out(bed, dynamodb(it.url, "mailsyncd"))
            assert says in line


def test_no_credentials_at_all(bed: Bed) -> None:
    bed.environ |= {"AWS_EC2_METADATA_DISABLED": "true"}
    (line,) = shut_out(bed, dynamodb("http://127.0.0.1:9", "mailsyncd"))
    assert "there are no AWS credentials" in line


def test_a_directory_in_the_place_of_the_file(bed: Bed) -> None:
    (bed.directory / "state.db").mkdir()
    (line,) = shut_out(bed, 'path = "state.db"')
    assert "state.db" in line


def test_a_store_that_may_be_read_but_not_written(bed: Bed, engine: str) -> None:
    """A policy without PutItem: what cannot be claimed may not be copied, nor tried for ever."""
    credentials(bed)
    with warden(engine) as it:
        bed.configure(ANN, state=dynamodb(it.url, "read-only") + '\ngrace = "1s"')
        assert bed.cli("state", "init", "--config", "config.toml").returncode == 0
        it.kind, it.reading = "AccessDeniedException", True
        for command in ("run", "run-once"):
            ended = bed.cli(command, "--config", "config.toml", timeout=20)
            assert ended.returncode == 75
            assert "AWS denies dynamodb:PutItem" in ended.stderr.splitlines()[-1]
            assert len((ended.stdout + ended.stderr).splitlines()) < 12


def test_a_store_that_goes_away_stops_the_copying_and_in_the_end_the_daemon(bed: Bed, engine: str) -> None:
    credentials(bed)
    with warden(engine) as it:
        bed.configure(ANN, state=dynamodb(it.url, "comes-and-goes") + '\ngrace = "6s"')
        assert bed.cli("state", "init", "--config", "config.toml").returncode == 0
        with bed.daemon() as daemon:
            daemon.await_event("route.connected")
            it.kind = "ExpiredTokenException"
            bed.deliver("src1", varied(1, 3))
            daemon.await_event("state.unavailable")
            assert bed.count("Gmail/src1") == 0
            it.kind = None
            daemon.await_event("message.copied", 3)
            assert daemon.events("state.available")
            it.kind = "ExpiredTokenException"
            bed.deliver("src1", varied(2, 2))
            until(lambda: daemon.process.poll() is not None, SOON)
            assert daemon.process.returncode == 75
            last = daemon.log.read_text().splitlines()[-1]
            assert last.startswith("mailsyncd: DynamoDB table comes-and-goes")
        assert bed.count("Gmail/src1") == 3
        it.kind = None
        assert bed.once()["copied"] == 2
    assert Comparison.of(bed.sent("src1"), bed.copies("Gmail/src1")) == SAME


def test_a_signal_ends_the_daemon_in_time_though_the_store_is_away(bed: Bed, engine: str) -> None:
    credentials(bed)
    with warden(engine) as it:
        bed.configure(ANN, state=dynamodb(it.url, "away-at-the-end"), daemon='drain_timeout = "2s"')
        assert bed.cli("state", "init", "--config", "config.toml").returncode == 0
        with bed.daemon() as daemon:
            daemon.await_event("route.connected")
            it.kind = "ExpiredTokenException"
            bed.deliver("src1", varied(3, 2))
            daemon.await_event("state.unavailable")
            daemon.process.send_signal(signal.SIGTERM)
            assert daemon.process.wait(IN_TIME) in (0, 75)
        it.kind = None
        assert bed.once()["copied"] == 2
