"""Dashboard and alerts use what is exported, and the alerts fire when they have to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from needs import lack
from statuses import Shown

from mailsyncd.errors import AuthRejected, RouteBlocked
from mailsyncd.meter import cause_of
from mailsyncd.observe.exposition import exposition

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy/prometheus-rules.yml"
DASHBOARD = ROOT / "deploy/grafana-dashboard.json"
NAME = re.compile(r"\b(?:mailsyncd|process)_[a-z_]+\b(?!=)")
LABEL = re.compile(r'\b([a-z_]+)\s*(?:=~|!~|!=|=)\s*"')
MATCHER = re.compile(r'\b([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"$]+)"')
SCRAPED = {"job", "instance", "le", "alertname", "alertstate"}  # what Prometheus adds by itself


def exported() -> tuple[set[str], set[str]]:
    """Names of series, and of labels."""
    lines = exposition(Shown().sight()).decode().splitlines()
    series = [line for line in lines if not line.startswith("#")]
    labels = {label for line in series for label in re.findall(r'[{,]([a-z_]+)="', line)}
    return {re.split(r"[{ ]", line)[0] for line in series}, labels


def exported_values() -> set[tuple[str, str]]:
    """Labels with their values, and the causes of reconnects that the sample has none of."""
    lines = exposition(Shown().sight()).decode().splitlines()
    causes = {cause_of(None), cause_of(AuthRejected("")), cause_of(RouteBlocked(""))}
    found = {pair for line in lines for pair in re.findall(r'[{,]([a-z_]+)="([^"]*)"', line)}
    return found | {("cause", cause) for cause in causes}


def texts(value: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """All texts below any of these keys."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in keys and isinstance(inner, str):
                yield inner
            else:
                yield from texts(inner, keys)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, keys)


def of_dashboard() -> list[str]:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [*texts(board, ("expr", "query", "definition"))]


def of_rules() -> list[str]:
    found = re.findall(r"^ +expr: (\|\n(?: {10,}.*\n)+|.*)", RULES.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(found) > 10
    return [str(one) for one in found]


@pytest.mark.parametrize("expressions", [of_dashboard, of_rules])
def test_what_is_asked_for_is_exported(expressions: Any) -> None:
    names, labels = exported()
    asked = {name for text in expressions() for name in NAME.findall(text)}
    assert len(asked) > 8
    assert asked - names == set()
    used = {label for text in expressions() for label in LABEL.findall(text)}
    grouped = {
        label.strip()
        for text in expressions()
        for group in re.findall(r"\bby \(([^)]*)\)", text)
        for label in group.split(",")
    }
    assert (used | grouped) - labels - SCRAPED == set()


@pytest.mark.parametrize("expressions", [of_dashboard, of_rules])
def test_what_is_picked_out_by_its_labels_can_be_there(expressions: Any) -> None:
    picked = {
        (label, value)
        for text in expressions()
        for label, values in MATCHER.findall(text)
        for value in values.split("|")
        if label not in SCRAPED
    }
    assert len(picked) >= 3
    assert picked - exported_values() == set()


def test_every_alert_has_what_a_person_needs_of_it() -> None:
    text = RULES.read_text(encoding="utf-8")
    alerts = text.split("      - alert: ")[1:]
    assert len(alerts) > 12
    for alert in alerts:
        assert re.match(r"Mailsyncd[A-Za-z]+\n", alert)
        assert "severity: page" in alert or "severity: ticket" in alert
        assert "summary:" in alert
        assert "description:" in alert


def test_every_alert_is_tried() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text(encoding="utf-8")))
    tried = (Path(__file__).parent / "prometheus_rules_test.yml").read_text(encoding="utf-8")
    assert {alert for alert in alerts if alert not in tried} == set()


@pytest.fixture
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        lack("no promtool: install Prometheus (Debian: apt install prometheus)")
    return path


def run(*command: str, given: bytes = b"") -> str:
    done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=60)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_prometheus_takes_the_rules_and_they_fire(promtool: str, tmp_path: Path) -> None:
    run(promtool, "check", "rules", str(RULES))
    tried = (Path(__file__).parent / "prometheus_rules_test.yml").read_text(encoding="utf-8")
    cases = tmp_path / "cases.yml"
    cases.write_text(tried.replace("[RULES]", f'["{RULES}"]'), encoding="utf-8")
    assert "SUCCESS" in run(promtool, "test", "rules", str(cases))


def test_prometheus_has_nothing_to_say_of_the_metrics(promtool: str) -> None:
    assert run(promtool, "check", "metrics", given=exposition(Shown().sight())) == ""


def test_prometheus_understands_each_query_of_the_dashboard(promtool: str, tmp_path: Path) -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    queries = list(texts(board, ("expr",)))
    plain = [re.sub(r"\$__rate_interval", "5m", re.sub(r"\$(?!__)\w+", ".*", query)) for query in queries]
    rules = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(plain)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in run(promtool, "check", "rules", str(file))


def test_the_operators_page_tells_every_metric() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    table = page.partition("### Metrics\n")[2].partition("\n#")[0]
    told = set(re.findall(r"`(mailsyncd_[a-z_]+)`", table))
    names = {
        re.sub(r"_(bucket|count|sum)$", "", name) for name in exported()[0] if name.startswith("mailsyncd_")
    }
    assert told == names
