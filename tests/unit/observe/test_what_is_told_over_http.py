"""The answers: metrics that Prometheus can read, a status without words of anybody's mail, readiness."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from statuses import OWN, REFUSAL, ROUTES, STRANGER, SUBJECT, Shown

import mailsyncd.observe.web.answers as answers
from mailsyncd.observe.exposition import exposition
from mailsyncd.observe.shown import shown
from mailsyncd.observe.web.answers import FRESH, PAGE, Answers, readiness
from mailsyncd.status import DaemonStatus, Health, RouteState, WriterState

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(text: bytes) -> Series:
    families = text_string_to_metric_families(text.decode())
    return {
        (one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples
    }


def value(found: Series, name: str, **labels: str) -> float:
    (only,) = [
        v for (n, has), v in found.items() if n == f"mailsyncd_{name}" and labels.items() <= dict(has).items()
    ]
    return only


# --------------------------------------------------------------------- metrics


def test_metrics_tell_what_the_status_tells() -> None:
    found = series(exposition(Shown().sight()))
    route = ROUTES[0].name
    assert value(found, "unsettled_messages", route=route) == 142
    assert value(found, "oldest_undelivered_seconds", route=route) == 190
    assert value(found, "set_aside_messages", route=route) == 2
    assert value(found, "messages_total", route=route, outcome="failed") == 2
    assert value(found, "route_state", route=ROUTES[2].name, state="retrying") == 1
    assert value(found, "route_state", route=ROUTES[2].name, state="watching") == 0
    assert value(found, "destination_state", state="throttled") == 1
    assert value(found, "pause_seconds") == 41.6
    assert value(found, "lease_epoch") == 4
    assert value(found, "reconnects_total", side="source", cause="lost") == 1
    assert value(found, "throttled_seconds_total", side="destination") == 30
    assert value(found, "state_requests_total", operation="PutItem") == 12
    assert value(found, "state_units_total", kind="write") == 24
    assert value(found, "sign_in_ends_in_seconds", account="bob@gmail.example") == 6 * 86_400
    assert value(found, "token_expires_in_seconds", account="eve@gmail.example") == 2400
    assert value(found, "token_renewals_total", account="eve@gmail.example", outcome="failed") == 1
    assert value(found, "reloads_total", outcome="good") == 1
    assert value(found, "reload_successful") == 1


def test_histograms_tell_push_from_sweep_and_end_with_all() -> None:
    on = Shown()
    found = series(exposition(on.sight()))
    for via in ("push", "sweep", "start"):
        counted = value(found, "delivery_since_seen_seconds_count", via=via)
        assert counted == sum(on.meter.since_seen["outlook", via].counts) > 0
        assert value(found, "delivery_since_seen_seconds_bucket", via=via, le="+Inf") == counted
        assert value(found, "delivery_since_received_seconds_count", via=via) == counted


def test_a_counter_is_there_before_it_counts() -> None:
    """Prometheus sees no step from nothing to one."""
    found = series(exposition(Shown(well=True).sight()))
    assert value(found, "messages_total", route=ROUTES[4].name, outcome="failed") == 0


def test_no_words_of_anybodys_mail_are_in_any_answer() -> None:
    on = Answers(Shown().sight())
    for path in ("/metrics", "/status.json", "/healthz", "/readyz"):
        answer = on.to(path)
        assert answer is not None
        assert STRANGER.encode() not in answer.body
        assert SUBJECT.encode() not in answer.body


# ---------------------------------------------------------------------- status


def test_what_a_server_says_of_a_message_is_left_out() -> None:
    assert shown(REFUSAL, OWN) == "outlook.example:993 (APPEND): the server said NO [CANNOT] …"
    quoted = f"h (UID FETCH): the server said BAD [{SUBJECT}] x\nand more"
    assert shown(quoted, OWN) == "h (UID FETCH): the server said BAD …"


def test_ones_own_address_is_shown_and_a_strangers_is_not() -> None:
    detail = f"Ann@gmail.example: refused; ask <{STRANGER}>, {STRANGER.upper()}."
    assert shown(detail, OWN) == "Ann@gmail.example: refused; ask <…>, …"


def test_a_status_has_the_last_hour() -> None:
    answer = Answers(Shown().sight()).to("/status.json")
    assert answer is not None
    told = json.loads(answer.body)
    assert told["health"] == "degraded"
    assert sum(one[3] for one in told["last_hour"]["delays"]) > 100
    flows = {one["name"]: one["flow"] for one in told["routes"]}
    assert len(flows[ROUTES[0].name]) == 60
    assert flows[ROUTES[4].name] == []


@pytest.mark.parametrize("path", ["/status.json", "/metrics"])
async def test_an_answer_is_made_once_a_second_however_many_ask(path: str) -> None:
    on = Shown()
    site = Answers(on.sight())
    first = site.to(path)
    on.well = True
    assert site.to(path) == first
    await on.clock.advance(FRESH)
    again = site.to(path)
    assert again is not None
    assert first is not None
    assert again.body != first.body


async def test_one_that_takes_long_is_made_more_seldom() -> None:
    on = Shown()
    tell, made = on.status, []

    def slow() -> DaemonStatus:
        made.append(on.clock.monotonic())
        on.clock._time += 0.1
        return tell()

    on.status = slow  # type: ignore[method-assign]
    site = Answers(on.sight())
    for _ in range(20):
        site.to("/metrics")
        await on.clock.advance(1.0)
    assert len(made) == 4, "every 5 s"


# ---------------------------------------------------------- health and readiness


def test_it_is_alive_whatever_the_verdict() -> None:
    answer = Answers(Shown().sight()).to("/healthz")
    assert answer is not None
    assert (answer.status, answer.body) == (200, b"degraded\n")


def test_it_is_ready_when_mail_would_be_copied() -> None:
    status = Shown().status()
    assert readiness(status) == (True, "ready")
    assert readiness(replace(status, health=Health.FAILING)) == (False, "failing")
    connecting = replace(status.writers[0], state=WriterState.CONNECTING)
    assert readiness(replace(status, writers=(connecting,))) == (False, "starting")
    assert readiness(replace(status, writers=())) == (False, "starting")
    dialling = tuple(replace(one, state=RouteState.CONNECTING) for one in status.routes)
    assert readiness(replace(status, routes=dialling)) == (False, "starting")
    standby = replace(status.writers[0], state=WriterState.STANDBY)
    assert readiness(replace(status, routes=dialling, writers=(standby,))) == (True, "ready")


# ------------------------------------------------------------------------ page


@pytest.mark.parametrize("path", PAGE)
def test_each_file_of_the_page_is_there(path: str) -> None:
    answer = Answers(Shown().sight()).to(path)
    assert answer is not None
    assert len(answer.body) > 100


def test_the_page_asks_for_nothing_from_elsewhere_and_makes_no_markup_of_data() -> None:
    page = Path(answers.__file__).parent / "page"
    for file in page.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", "").replace("*//*", ""), file.name
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "style=",
            "onclick=",
        ):
            assert way not in text, (file.name, way)


def test_there_is_nothing_else() -> None:
    site = Answers(Shown().sight())
    assert [site.to(path) for path in ("/page", "/../page.js", "//", "", "/metrics/", "/page.html")] == [
        None
    ] * 6
