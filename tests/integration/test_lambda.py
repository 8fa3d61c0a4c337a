"""The AWS Lambda function, as a process that is configured by its environment alone."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from bed import environment
from between_sims import OUTLOOK_USER, PASSWORD, Between, between

from mailsyncd.sim.corpus import corpus

ANN, BOB = "ann@gmail.example", "bob@gmail.example"
ROUTES = {ANN: "Gmail/ann", BOB: "Gmail/bob"}

# As Lambda's own runtime does: the module is imported once, the handler is called for each event.
RUNTIME = """
import json, sys, importlib
module, _, name = "mailsyncd.lambda_handler.handler".rpartition(".")
handler = getattr(importlib.import_module(module), name)
class Context:
    function_name = "mailsyncd"
    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    def get_remaining_time_in_millis(self): return 60000
for event in json.loads(sys.argv[1]):
    print(json.dumps(handler(event, Context())))
"""
SCHEDULED = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-11-21T16:53:06Z",
    "region": "us-west-2",
    "resources": ["arn:aws:events:us-west-2:123456789012:rule/mailsyncd"],
    "detail": {},
}


def environ_of(bed: Between, **more: str) -> dict[str, str]:
    server = {"host": "127.0.0.1", "tls": "false", "auth": "password", "password": PASSWORD}
    routes = [
        {"gmail_email": user, "outlook_target_folder": folder, "start": "all", "port": bed.gmail.port}
        | {**server, "tls": False}
        for user, folder in bed.routes.items()
    ]
    outlook = {"email": OUTLOOK_USER, "port": str(bed.outlook.port), **server}
    return {
        **environment(bed.directory),
        **{f"MAILSYNCD_OUTLOOK__{key.upper()}": value for key, value in outlook.items()},
        "SYNC_ROUTES_JSON": json.dumps(routes),
        "STATE_DIRECTORY": str(bed.directory / "state"),
        **more,
    }


async def python(bed: Between, *arguments: str, **more: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, what was printed, line by line, and what was said besides."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=bed.directory,
        env=environ_of(bed, **more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], err.decode()


async def lambda_command(bed: Between, *arguments: str, **more: str) -> tuple[int, list[dict[str, Any]], str]:
    return await python(bed, "-m", "mailsyncd", "lambda", *arguments, **more)


def deliver(bed: Between, user: str, count: int) -> None:
    for one in corpus(seed=1, count=count):
        bed.gmail.deliver(user, one.raw, internaldate=one.internaldate)


async def test_every_event_brings_all_up_to_date(tmp_path: Path) -> None:
    async with between(tmp_path, ROUTES) as bed:
        deliver(bed, ANN, 3)
        deliver(bed, BOB, 2)
        events = [SCHEDULED, {}, None, {"route": ANN}]
        status, lines, said = await python(bed, "-c", RUNTIME, json.dumps(events))
        assert status == 0, said
        answers = [line for line in lines if "event" not in line]
        assert [one["copied"] for one in answers] == [5, 0, 0, 0]
        assert [len(one["routes"]) for one in answers] == [2, 2, 2, 1]
        assert all(one["complete"] and not one["stopped_early"] and not one["standby"] for one in answers)
        assert bed.missing == 0
        assert {line["run_id"] for line in lines if "event" in line} == {
            "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
        }
        for user in ROUTES:
            assert bed.verdict(user).is_clean


async def test_it_stops_in_time_and_the_next_one_goes_on_at_once(tmp_path: Path) -> None:
    async with between(tmp_path, {ANN: "Gmail/ann"}) as bed:
        deliver(bed, ANN, 60)
        hurried = {"MAILSYNCD_DAEMON__DRAIN_TIMEOUT": "1s", "MAILSYNCD_OUTLOOK__PER_SECOND": "2"}
        status, lines, said = await lambda_command(bed, "--timeout", "20", **hurried)
        assert status == 0, said
        answer = lines[-1]
        assert (answer["stopped_early"], answer["complete"], answer["failed"]) == (True, False, 0)
        assert 0 < answer["copied"] == bed.copied(ANN) < 60
        status, lines, said = await lambda_command(bed)
        assert status == 0, said
        assert lines[-1]["copied"] == 60 - answer["copied"]
        assert not [line for line in lines if line.get("event", "").startswith("recovery.")]
        assert bed.verdict(ANN).is_clean


async def test_without_the_time_to_end_well_it_does_not_begin(tmp_path: Path) -> None:
    async with between(tmp_path, {ANN: "Gmail/ann"}) as bed:
        deliver(bed, ANN, 1)
        status, lines, said = await lambda_command(bed, "--timeout", "20")
        assert status == 1
        assert lines[-1]["event"] == "cycle.failed"
        assert "raise the function's timeout" in said
        assert bed.copied(ANN) == 0


async def test_what_goes_wrong_is_an_error_of_the_invocation(tmp_path: Path) -> None:
    async with between(tmp_path, ROUTES) as bed:
        deliver(bed, ANN, 1)
        (tmp_path / "event.json").write_text('{"route": "nobody"}')
        status, lines, said = await lambda_command(bed, "--event", "event.json")
        assert status == 78
        assert "there are: ann@gmail.example > Gmail/ann" in lines[-1]["error"]
        status, lines, said = await lambda_command(bed, MAILSYNCD_OUTLOOK__PASSWORD="wrong")
        assert status == 1
        assert said.splitlines() == [f"mailsyncd: {lines[-1]['error']}"]
        assert lines[-1]["error"].startswith("ann@gmail.example > Gmail/ann: ")


async def test_a_daemon_that_writes_already_is_no_error(tmp_path: Path) -> None:
    async with between(tmp_path, {ANN: "Gmail/ann"}) as bed, bed.daemon() as daemon:
        await daemon.until(lambda: bool(daemon.events("lease.taken")))
        state = {"MAILSYNCD_STATE__PATH": str(tmp_path / "state.db")}
        status, lines, said = await lambda_command(bed, **state)
        assert status == 0, said
        assert (lines[-1]["standby"], lines[-1]["complete"], lines[-1]["routes"]) == (True, False, [])


@pytest.mark.parametrize("given", ['"text"', "[1]", '{"Records": []}', '{"route": 1}', "nonsense"])
async def test_an_event_of_another_kind_is_refused(tmp_path: Path, given: str) -> None:
    async with between(tmp_path, {ANN: "Gmail/ann"}) as bed:
        (tmp_path / "event.json").write_text(given)
        status, _, said = await lambda_command(bed, "--event", "event.json")
        assert status == 1
        assert said.startswith("mailsyncd: ")
        assert "Traceback" not in said
