"""Secrets and variables that AWS's stores hold: what is wanted of them, what is made of it, what is told."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from mailsyncd.account import Secret
from mailsyncd.config.load import Loaded, load, socket
from mailsyncd.config.parameters import Wanted
from mailsyncd.errors import ConfigError, SecretsUnavailable
from mailsyncd.stored import Held, Reference, Trouble, Vault

CANARY = "C4N4RY-secret"
ONE = Reference(Vault.SSM, "/mail-syncer/outlook")
TWO = Reference(Vault.SECRETS_MANAGER, "mail-syncer/routes")
TEXT = """
[state]
region = "us-west-2"
[outlook]
email = "me@outlook.com"
client_id = "c"
refresh_token = { ssm = "/mail-syncer/outlook", key = "MS_REFRESH_TOKEN" }
client_secret = { ssm = "/mail-syncer/outlook", key = "MS_CLIENT_SECRET" }
[[routes]]
gmail = "me@gmail.com"
folder = "Gmail/me"
auth = "password"
password = { secretsmanager = "mail-syncer/routes" }
"""
GOOD: Held = {
    ONE: Secret(json.dumps({"MS_REFRESH_TOKEN": CANARY, "MS_CLIENT_SECRET": "other", "N": 1})),
    TWO: Secret("the-whole"),
}
NAMES = {"AWS_SSM_PARAMETER_NAMES": ONE.name, "AWS_SECRETS_MANAGER_SECRET_IDS": TWO.name}
ROUTES = [{"GMAIL_EMAIL": "me@gmail.com", "GMAIL_CLIENT_ID": "g", "OUTLOOK_TARGET_FOLDER": "Gmail"}]


@pytest.fixture
def load_held(tmp_path: Path) -> Callable[..., Loaded]:
    def from_text(text: str, held: Held | None, **environ: str) -> Loaded:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return load(path, {"HOME": str(tmp_path), **environ}, held)

    return from_text


Load = Callable[..., Loaded]


def variables(**more: object) -> Held:
    return {ONE: Secret(json.dumps(more)), TWO: Secret("{}")}


def test_all_references_are_wanted_at_once_and_each_once(load_held: Load) -> None:
    with pytest.raises(Wanted) as caught:
        load_held(TEXT, {})
    assert caught.value.references == {ONE, TWO}
    assert caught.value.region == "us-west-2"
    with pytest.raises(Wanted) as caught:
        load_held(TEXT, {ONE: GOOD[ONE]}, AWS_REGION="eu-west-1")
    assert (caught.value.references, caught.value.region) == (frozenset({TWO}), "eu-west-1")


def test_a_reference_gives_a_key_or_the_whole(load_held: Load) -> None:
    loaded = load_held(TEXT, GOOD)
    account = loaded.configuration.destinations[0].account
    assert account.refresh_token == Secret(CANARY)
    assert account.client_secret == Secret("other")
    assert loaded.configuration.routes[0].account.password == Secret("the-whole")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Secret(CANARY), "is not JSON (line 1, column 1)"),
        (Secret(f'["{CANARY}"]'), "is not a JSON object"),
        (Secret('{"a": ' + "9" * 5000 + "}"), "has a number of too many digits"),
        (Secret("[" * 100_000), "is not a JSON object"),
        (Secret(f'{{"OTHER": "{CANARY}"}}'), "has no key MS_REFRESH_TOKEN"),
        (Secret(f'{{"MS_REFRESH_TOKEN": ["{CANARY}"]}}'), "has a MS_REFRESH_TOKEN that is not a string"),
        (Trouble("does not exist"), "does not exist"),
    ],
)
def test_what_a_key_cannot_be_found_in_is_told_without_it(
    load_held: Load, found: Secret | Trouble, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_held(TEXT.replace("client_secret", "#"), {**GOOD, ONE: found})
    (problem,) = caught.value.problems
    assert str(problem) == (
        f"config.toml:7: outlook.refresh_token: SSM parameter /mail-syncer/outlook: {said}"
    )
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("value", ["", "a\nb"])
def test_a_stored_secret_is_checked_as_any_other(load_held: Load, value: str) -> None:
    with pytest.raises(ConfigError, match=r"routes\[1\].password: (is empty|has a line break)"):
        load_held(TEXT, {**GOOD, TWO: Secret(value)})


def test_what_may_pass_is_another_error_unless_something_lasts(load_held: Load) -> None:
    away = Trouble("can't be reached", passes=True)
    with pytest.raises(SecretsUnavailable) as passing:
        load_held(TEXT, {**GOOD, TWO: away})
    assert str(passing.value) == (
        "config.toml:13: routes[1].password: Secrets Manager secret mail-syncer/routes: can't be reached"
    )
    with pytest.raises(ConfigError) as lasting:
        load_held(TEXT, {ONE: Trouble("does not exist"), TWO: away})
    assert len(lasting.value.problems) == 3


@pytest.mark.parametrize(
    "reference",
    [
        f'{{ ssm = "a b {CANARY}" }}',
        f'{{ ssm = "//{CANARY}" }}',
        f'{{ secretsmanager = "1//{CANARY}" }}',
        f'{{ ssm = "/x", key = "{CANARY} x" }}',
        f'{{ ssm = "/x", keey = "{CANARY}" }}',
        f'{{ ssm = ["{CANARY}"] }}',
        f'{{ ssm = "/x", key = ["{CANARY}"] }}',
        f'{{ ssm = "/x", secretsmanager = "{CANARY}" }}',
        f'{{ key = "{CANARY}" }}',
        f'{{ env = "X", key = "{CANARY}" }}',
    ],
)
def test_what_is_no_reference_is_told_and_never_shown(load_held: Load, reference: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_held(TEXT.replace('{ secretsmanager = "mail-syncer/routes" }', reference), GOOD)
    (problem,) = caught.value.problems
    assert problem.where == "routes[1].password"
    assert CANARY not in str(problem)


def test_without_asking_aws_its_secrets_are_empty_and_nothing_is_wanted(load_held: Load) -> None:
    loaded = load_held(TEXT, None)
    assert loaded.configuration.routes[0].account.password == Secret("")


# ------------------------------------------------------------ variables kept in AWS


def test_the_variables_come_before_all_else(load_held: Load) -> None:
    with pytest.raises(Wanted) as caught:
        load_held("[outlook]\nrefresh_token = 3", {}, **NAMES, AWS_REGION="us-west-2")
    assert (caught.value.references, caught.value.region) == (frozenset({ONE, TWO}), "us-west-2")


def test_ssm_wins_over_secrets_manager_and_the_environment_over_both(load_held: Load) -> None:
    stored = {"OUTLOOK_EMAIL": "ssm@outlook.com", "MS_TENANT": "ssm", "LOG_LEVEL": "debug"}
    older = {"OUTLOOK_EMAIL": "sm@outlook.com", "MS_CLIENT_ID": "sm", "LOG_LEVEL": "error"}
    held = {ONE: Secret(json.dumps(stored)), TWO: Secret(json.dumps(older))}
    text = TEXT.replace('client_id = "c"', "").replace('email = "me@outlook.com"', "")
    environ = {**NAMES, "LOG_LEVEL": "warning", "MS_TENANT": "", "OUTLOOK_EMAIL": ""}
    loaded = load_held(text.replace("{ ssm", '"x" #').replace("{ secretsmanager", '"x" #'), held, **environ)
    (destination,) = loaded.configuration.destinations
    assert (destination.email, destination.tenant) == ("ssm@outlook.com", "ssm")
    assert destination.account.client_id == "sm"
    assert loaded.configuration.daemon.log_level == "warning"
    assert loaded.origins["outlook.email"] == "SSM parameter /mail-syncer/outlook, OUTLOOK_EMAIL"
    assert loaded.origins["daemon.log_level"] == "environment LOG_LEVEL"


def test_of_several_parameters_the_later_one_counts(load_held: Load) -> None:
    other = Reference(Vault.SSM, "/other")
    held = {**variables(LOG_LEVEL="debug"), other: Secret('{"LOG_LEVEL": "error"}'), TWO: GOOD[TWO]}
    names = {"AWS_SSM_PARAMETER_NAMES": f" {ONE.name} ,, /other"}
    loaded = load_held(TEXT.replace("{ ssm", '"x" #'), held, **names)
    assert loaded.configuration.daemon.log_level == "error"


def test_routes_may_be_kept_as_text_or_as_the_array_that_they_are(load_held: Load) -> None:
    whole = [{**ROUTES[0], "GMAIL_REFRESH_TOKEN": CANARY}]
    for kept in (whole, json.dumps(whole)):
        held = variables(SYNC_ROUTES_JSON=kept, SYNC_INTERVAL_SECONDS=120)
        text = TEXT.replace("{ ssm", '"x" #').partition("[[routes]]")[0]
        loaded = load_held(text, held, **NAMES)
        assert loaded.configuration.routes[0].account.refresh_token == Secret(CANARY)
        assert loaded.configuration.daemon.sweep_interval == 120


def test_routes_kept_in_aws_may_refer_to_it_in_turn(load_held: Load) -> None:
    route = {**ROUTES[0], "GMAIL_REFRESH_TOKEN": {"ssm": "/token"}}
    text = TEXT.replace("{ ssm", '"x" #').partition("[[routes]]")[0]
    with pytest.raises(Wanted) as caught:
        load_held(text, variables(SYNC_ROUTES_JSON=[route]), **NAMES)
    assert caught.value.references == {Reference(Vault.SSM, "/token")}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Secret(CANARY), "is not JSON (line 1, column 1)"),
        (Secret(f'"{CANARY}"'), "is not a JSON object"),
        (Secret(f'{{"{CANARY} x": "{CANARY}"}}'), "has a key that is no name of a variable"),
        (Secret('{"A": null}'), "has a A that is not a string"),
        (Trouble("does not exist"), "does not exist"),
    ],
)
def test_variables_that_cannot_be_had_are_told_alone(
    load_held: Load, found: Secret | Trouble, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_held("", {**GOOD, ONE: found, TWO: Secret("{}")}, **NAMES)
    assert str(caught.value) == (
        f"environment AWS_SSM_PARAMETER_NAMES: SSM parameter /mail-syncer/outlook: {said}"
    )
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_variables_that_may_be_had_later_are_told_so(load_held: Load) -> None:
    away = Trouble("AWS throttles", passes=True)
    with pytest.raises(SecretsUnavailable, match=r"AWS_SECRETS_MANAGER_SECRET_IDS: .*throttles"):
        load_held(TEXT, {**GOOD, TWO: away, ONE: Secret("{}")}, **NAMES)
    with pytest.raises(ConfigError):
        load_held(TEXT, {**GOOD, TWO: away, ONE: Secret("")}, **NAMES)


def test_an_entry_that_is_no_name_is_told_by_its_number(load_held: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load_held(TEXT, {}, AWS_SSM_PARAMETER_NAMES=f"/a,1//{CANARY}")
    assert str(caught.value) == (
        "environment AWS_SSM_PARAMETER_NAMES: entry 2 is not the name of a parameter, nor its ARN"
    )


def test_a_mistake_in_a_stored_variable_names_where_it_is_kept(load_held: Load) -> None:
    held = {**GOOD, **variables(LOG_LEVEL="loud", MS_REFRESH_TOKEN="x", MAILSYNCD_OUTLOK__X="y")}
    with pytest.raises(ConfigError) as caught:
        load_held(TEXT.replace("{ ssm", '"x" #'), {**held, TWO: Secret("{}")}, **NAMES)
    first, second = [str(one) for one in caught.value.problems if "SSM" in str(one)]
    assert first.startswith("SSM parameter /mail-syncer/outlook, LOG_LEVEL: daemon.log_level: ")
    assert second.startswith("SSM parameter /mail-syncer/outlook, MAILSYNCD_OUTLOK__X: is no known")


def test_what_is_missing_without_asking_is_explained(load_held: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load_held("", None, **NAMES)
    assert str(caught.value).count("is not looked into here; `mailsyncd config check` does it") == 2


# ------------------------------------------------------------------------ the socket


def test_the_socket_is_found_whatever_is_wrong_with_the_routes(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[daemon]\nsocket = "a.sock"\n[[routes]]\nfolder = "/"\npassword = { env = "NONE" }\n')
    assert socket(path, NAMES) == tmp_path / "a.sock"
    assert socket(None, {**NAMES, "RUNTIME_DIRECTORY": "/run/x"}) == Path("/run/x/mailsyncd.sock")
    path.write_text("[daemon]\nsocket = 3\n")
    with pytest.raises(ConfigError, match=r"daemon.socket"):
        socket(path, {})
