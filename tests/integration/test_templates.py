"""What is deployed to AWS, against the code: templates, the policy, the package of the function."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml
from test_packaging import configured

from mailsyncd.cli import _parser
from mailsyncd.commands.cycle import HANDING_OVER, closing_time
from mailsyncd.config.load import load
from mailsyncd.config.parameters import LISTS
from mailsyncd.flow.destination import LAST_NOTES
from mailsyncd.lambda_handler import LAST_SECONDS

ROOT = Path(__file__).parents[2]
ECS, LAMBDA, TABLE = "ecs-fargate", "lambda", "table"
STATE = {"DYNAMODB_TABLE": "mailsyncd", "AWS_REGION": "us-west-2"}
# Asked for by commands that a person runs; or, with BatchGetSecretValue, only where it is allowed.
OF_COMMANDS = {"secretsmanager:CreateSecret", "secretsmanager:BatchGetSecretValue"}


def template(name: str) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(cfn_yaml.load(str(ROOT / f"deploy/{name}.yaml"))))
    return plain


def resources(name: str, kind: str) -> dict[str, dict[str, Any]]:
    found = template(name)["Resources"].items()
    return {key: one["Properties"] for key, one in found if one["Type"] == kind}


def resource(name: str, kind: str) -> dict[str, Any]:
    (found,) = resources(name, kind).values()
    return found


def within(value: object, key: str) -> Iterator[Any]:
    """Every value of that key, at any depth."""
    if isinstance(value, dict):
        yield from (one for name, one in value.items() if name == key)
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from within(one, key)


def listed(value: str | list[str]) -> set[str]:
    return {value} if isinstance(value, str) else set(value)


def container() -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = resource(ECS, "AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    return found


def function() -> dict[str, Any]:
    return resource(LAMBDA, "AWS::Serverless::Function")


# ----------------------------------------------------------------------- parameters


@pytest.mark.parametrize("name", [ECS, LAMBDA, TABLE])
def test_every_parameter_says_what_it_is_and_what_it_may_be(name: str) -> None:
    for key, one in template(name)["Parameters"].items():
        assert len(one["Description"]) > 10, key
        pattern = one["AllowedPattern"]
        assert pattern.startswith("^"), key
        assert pattern.endswith("$"), key
        assert one["ConstraintDescription"], key
        if "Default" in one:
            assert re.search(pattern, str(one["Default"])), key
        assert not re.search(pattern, "no; good"), key


@pytest.mark.parametrize("name", [ECS, LAMBDA])
def test_every_parameter_is_offered_in_its_group_and_used(name: str) -> None:
    whole = template(name)
    groups = whole["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(key for one in groups for key in one["Parameters"]) == sorted(whole["Parameters"])
    text = (ROOT / f"deploy/{name}.yaml").read_text()
    unused = [key for key in whole["Parameters"] if f"!Ref {key}" not in text and f"${{{key}}}" not in text]
    assert unused == []


# ------------------------------------------------------------------ state and roles


def test_the_table_is_the_same_wherever_it_is_made() -> None:
    one, two, three = (resource(name, "AWS::DynamoDB::Table") for name in (ECS, LAMBDA, TABLE))
    assert one == two == three
    for name in (ECS, LAMBDA, TABLE):
        made = template(name)["Resources"]["Table"]
        assert made["DeletionPolicy"] == made["UpdateReplacePolicy"] == "Retain"


def policy() -> dict[str, dict[str, Any]]:
    given = json.loads((ROOT / "deploy/iam-policy.json").read_text())["Statement"]
    return {one["Sid"]: one for one in given}


def asked_of_vaults() -> set[str]:
    """Every request that the code can make of AWS's stores of secrets."""
    services = {"parameter": "ssm", "parameters": "ssm"}
    found = set()
    for path in (ROOT / "mailsyncd/vault").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "ask":
                assert isinstance(node.args[0], ast.Constant), "a request whose name is not written out"
                name = str(node.args[0].value)
                service = next(
                    (it for word, it in services.items() if word in name.split("_")), "secretsmanager"
                )
                found.add(f"{service}:{name.title().replace('_', '')}")
    return found


def test_the_policy_allows_what_the_code_asks_of_the_stores_of_secrets_and_nothing_else() -> None:
    allowed = {action for one in policy().values() for action in one["Action"]}
    asked = asked_of_vaults()
    assert {"ssm:GetParameters", "secretsmanager:GetSecretValue"} <= asked
    rest = {action for action in allowed if not action.startswith(("dynamodb:", "kms:"))}
    assert rest == asked - OF_COMMANDS
    assert all("*" not in json.dumps(one["Resource"]) for one in policy().values())


@pytest.mark.parametrize(("name", "role"), [(ECS, "TaskRole"), (LAMBDA, "Role")])
def test_the_role_of_a_template_is_the_policy(name: str, role: str) -> None:
    statements = resources(name, "AWS::IAM::Role")[role]["Policies"]
    given = {one: found for found in _statements(statements) if (one := found["Sid"]).startswith("Mailsyncd")}
    assert given.keys() == policy().keys()
    for sid, one in given.items():
        assert listed(one["Action"]) == set(policy()[sid]["Action"]), sid


def _statements(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "Sid" in value:
            yield value
        for one in value.values():
            yield from _statements(one)
    elif isinstance(value, list):
        for one in value:
            yield from _statements(one)


@pytest.mark.parametrize("name", [ECS, LAMBDA])
def test_a_star_is_only_where_aws_knows_no_resource(name: str) -> None:
    starred = {
        action
        for one in _statements(template(name)["Resources"])
        if one["Resource"] == "*"
        for action in listed(one["Action"])
    }
    assert {action for action in starred if not action.startswith("ec2:")} <= {"ecr:GetAuthorizationToken"}
    everything = list(_statements(template(name)["Resources"]))
    assert all("*" not in action for one in everything for action in listed(one["Action"]))


def test_the_services_whose_descriptions_are_kept_are_those_that_are_asked() -> None:
    script = (ROOT / "deploy/trim_botocore.sh").read_text()
    kept = set(re.findall(r"[a-z-]+", " ".join(re.findall(r"^ +([a-z| -]+)\) ;;", script, re.M))))
    code = "".join(path.read_text() for path in (ROOT / "mailsyncd").rglob("*.py"))
    made = set(re.findall(r"create_client\(\s*\"?([\w.]+)", code))
    assert made == {"dynamodb", "vault.value"}
    assert {"dynamodb", *(one.value for one in set(LISTS.values()))} <= kept


# ---------------------------------------------------------------------- what runs


def test_the_task_runs_the_daemon_as_the_image_means_it() -> None:
    one, dockerfile = container(), (ROOT / "Dockerfile").read_text()
    assert _parser().parse_args(one["Command"]).config is None
    assert f"USER {one['User']}\n" in dockerfile
    (check,) = re.findall(r"HEALTHCHECK .*\\\n +CMD (.*)$", dockerfile, re.MULTILINE)
    assert one["HealthCheck"]["Command"] == ["CMD-SHELL", check]
    places = {mount["ContainerPath"] for mount in one["MountPoints"]}
    assert places == set(json.loads(re.findall(r"^VOLUME (.*)$", dockerfile, re.MULTILINE)[0]))
    assert one["ReadonlyRootFilesystem"] is True


def test_the_task_is_given_longer_than_the_daemon_drains() -> None:
    longest = template(ECS)["Parameters"]["DrainSeconds"]["AllowedPattern"]
    drain = max(number for number in range(1000) if re.search(longest, str(number)))
    assert container()["StopTimeout"] >= drain + LAST_NOTES + HANDING_OVER
    assert container()["StopTimeout"] <= 120  # Fargate's own limit


def test_a_new_task_runs_before_the_old_one_is_stopped() -> None:
    deployment = resource(ECS, "AWS::ECS::Service")["DeploymentConfiguration"]
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}


def variables() -> dict[str, dict[str, Any]]:
    return {
        ECS: {one["Name"]: one["Value"] for one in container()["Environment"]},
        LAMBDA: function()["Environment"]["Variables"],
    }


@pytest.mark.parametrize("name", [ECS, LAMBDA])
def test_every_variable_means_something_to_the_configuration(name: str, tmp_path: Path) -> None:
    defaults = {key: one.get("Default", "") for key, one in template(name)["Parameters"].items()}
    given = {}
    for key, value in variables()[name].items():
        if isinstance(value, dict) and "Ref" in value:
            value = defaults.get(value["Ref"], "us-west-2")
        elif isinstance(value, dict) and "Fn::Sub" in value:
            value = re.sub(r"\$\{(\w+)\}", lambda m: defaults[m[1]], value["Fn::Sub"])
        given[key] = value if isinstance(value, str) else ""
    path = configured(tmp_path)
    read = load(path, {**STATE, **given, "HOME": str(tmp_path)}).configuration
    assert (read.state.table, read.state.region) == ("mailsyncd", "us-west-2")
    assert (read.daemon.sweep_interval, read.daemon.log_level) == (300, "info")
    assert (read.daemon.log_format, read.daemon.drain_timeout) == ("json", 20)
    assert set(LISTS) <= set(given)


def test_the_function_has_a_handler_and_the_time_to_end_well(tmp_path: Path) -> None:
    module, _, name = function()["Handler"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))
    configuration = load(configured(tmp_path), {"HOME": str(tmp_path)}).configuration
    kept = closing_time(configuration) + LAST_SECONDS
    parameter = template(LAMBDA)["Parameters"]["TimeoutSeconds"]
    shortest = min(number for number in range(1, 901) if re.search(parameter["AllowedPattern"], str(number)))
    assert f"{kept:.0f} seconds" in parameter["Description"]
    assert shortest >= kept + configuration.state.lease + 5, "a dead invocation's lease could never be taken"
    assert function()["ReservedConcurrentExecutions"] == 1
    assert int(parameter["Default"]) < 300, "two invocations would meet"
    assert function()["EventInvokeConfig"]["MaximumRetryAttempts"] == 0


def test_where_the_function_writes_is_where_it_may() -> None:
    assert function()["Environment"]["Variables"]["STATE_DIRECTORY"].startswith("/tmp/")


# -------------------------------------------------------------------- logs and alarms


@pytest.mark.parametrize("name", [ECS, LAMBDA])
def test_what_is_counted_in_the_logs_is_logged(name: str) -> None:
    code = "".join(path.read_text() for path in (ROOT / "mailsyncd").rglob("*.py"))
    for one in resources(name, "AWS::Logs::MetricFilter").values():
        for event in re.findall(r'\$\.event = "([\w.]+)"', one["FilterPattern"]):
            assert f'"{event}"' in code or event.startswith("writer."), event  # f"writer.{state}"
        (made,) = one["MetricTransformations"]
        if made["MetricValue"] != "1":
            assert f"{made['MetricValue'].removeprefix('$.')}=" in code


@pytest.mark.parametrize("name", [ECS, LAMBDA])
def test_every_alarm_tells_and_is_of_a_metric_that_there_is(name: str) -> None:
    told = {"Fn::If": ["Tells", [{"Ref": "Topic"}], []]}
    own = {
        made["MetricName"]
        for one in resources(name, "AWS::Logs::MetricFilter").values()
        for made in one["MetricTransformations"]
    }
    alarms = resources(name, "AWS::CloudWatch::Alarm").values()
    assert len(alarms) >= 6
    for one in alarms:
        assert one["AlarmActions"] == one["OKActions"] == told
        assert isinstance(one["Namespace"], str) or one["MetricName"] in own


@pytest.mark.parametrize("name", [ECS, LAMBDA])
def test_logs_are_kept_for_a_time(name: str) -> None:
    assert resource(name, "AWS::Logs::LogGroup")["RetentionInDays"] == {"Ref": "LogRetentionDays"}
