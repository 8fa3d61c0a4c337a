"""What is shipped around the package: the wheel, the unit, the Dockerfile, and pages that tell the truth."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from mailsyncd import __version__
from mailsyncd.cli import _parser
from mailsyncd.config.load import load

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CHANGELOG.md", "SECURITY.md", "deploy/README.md"]
PAGES += sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


OF_INSTALLERS = re.compile(r"\.(dist-info|data)/")  # what pip notes, and what it puts beside the package


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def setting(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


# ------------------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (built,) = directory.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_whole_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not OF_INSTALLERS.search(name)}
    files = (path for path in (ROOT / "mailsyncd").rglob("*") if path.is_file())
    there = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    assert names == there


def test_the_page_that_the_units_name_is_installed_with_the_program(wheel: Path) -> None:
    beside = f"mailsyncd-{__version__}.data/data/"
    with zipfile.ZipFile(wheel) as opened:
        installed = {
            name.removeprefix(beside): opened.read(name) for name in opened.namelist() if beside in name
        }
    assert installed == {"share/doc/mailsyncd/README.md": (ROOT / "README.md").read_bytes()}
    units = sorted((ROOT / "systemd").glob("*.service"))
    assert len(units) == 3
    for unit in units:
        text = unit.read_text(encoding="utf-8")
        (start,) = setting(text, "ExecStart")
        prefix = start.partition("/bin/mailsyncd ")[0]
        assert setting(text, "Documentation") == [f"file:{prefix}/{name}" for name in installed]


def test_the_wheel_says_what_it_is_what_it_needs_and_under_which_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        info = f"mailsyncd-{__version__}.dist-info"
        about = opened.read(f"{info}/METADATA").decode()
        entry = opened.read(f"{info}/entry_points.txt").decode()
        licence = opened.read(f"{info}/licenses/LICENSE").decode()
    assert "License-Expression: GPL-3.0-or-later" in about
    needs = [line.partition(": ")[2] for line in about.splitlines() if line.startswith("Requires-Dist: ")]
    names, wanted = ([re.split("[<>]", one)[0] for one in some] for some in (needs, PROJECT["dependencies"]))
    assert sorted(names) == sorted(wanted)
    assert "mailsyncd = mailsyncd.__main__:program" in entry
    assert licence.split()[:5] == ["GNU", "GENERAL", "PUBLIC", "LICENSE", "Version"]


def test_the_program_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    asks = "import mailsyncd, mailsyncd.cli; print(mailsyncd.__file__); mailsyncd.cli.main(['--version'])"
    said = subprocess.run(
        [sys.executable, "-c", asks],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    assert said[0].startswith(str(wheel))
    assert said[1] == f"mailsyncd {__version__}"


# --------------------------------------------------------------------------- the pages


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_a_page_are_commands(page: str) -> None:
    """Every `mailsyncd ...` or `m ...` in a block or between backticks is understood by the program."""
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [" ".join(one.split()) for one in re.findall(r"`((?:mailsyncd|m) [^`]*)`", text_of(page))]
    commands = [
        match[1].partition("#")[0]
        for line in lines
        if (match := re.match(r"(?:(?:\S*bin/|\$ )?mailsyncd|m) ([a-z-][^&]*)", line))
    ]
    assert commands or page not in ("README.md", "docs/operations.md")
    for command in commands:
        arguments = [re.sub(r"^(?:[NMS]|ID)$", "1", one) for one in shlex.split(command)]
        if arguments[-1] not in ("config", "state"):
            _parser().parse_args(arguments)


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_a_page_points_to_are_there(page: str) -> None:
    names = re.findall(r"`(tests/[\w./-]+)`", text_of(page))
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_make_has_every_target_that_a_page_names() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"^make ([a-z-]+)", text_of(page), re.MULTILINE)}
    assert {"demo", "test"} <= named <= targets


def test_the_readme_leads_to_a_service_in_fifteen_lines(tmp_path: Path) -> None:
    (block,) = (
        one for one in re.findall(r"^```sh\n(.*?)^```", text_of("README.md"), re.M | re.S) if "<<" in one
    )
    assert len(block.splitlines()) <= 15
    (given,) = re.findall(r"<<'TOML'\n(.*?)^TOML$", block, re.MULTILINE | re.DOTALL)
    path = tmp_path / "config.toml"
    path.write_text(given)
    needed = set(re.findall(r'credential = "(\w+)"', given))
    for name in needed:
        (tmp_path / name).write_text("a secret")
    configuration = load(path, {"CREDENTIALS_DIRECTORY": str(tmp_path), "HOME": str(tmp_path)}).configuration
    assert [one.route.name for one in configuration.routes] == ["me@gmail.com > Gmail/me"]
    made = set(re.findall(r"(?:credentials|CREDENTIALS_DIRECTORY)/(\w+)[\n']", block))
    (handed_over,) = re.findall(r"printf 'LoadCredential=.*' ([a-z ]+) \|", block)
    assert made == set(handed_over.split()) == needed


def test_the_changelog_knows_this_version() -> None:
    assert re.search(rf"^## \[?{re.escape(__version__)}\b", text_of("CHANGELOG.md"), re.MULTILINE)


# ------------------------------------------------------------- the unit and the image


def test_the_unit_starts_the_program_as_it_wants_to_be_started() -> None:
    unit = text_of("systemd/mailsyncd.service")
    (start,) = setting(unit, "ExecStart")
    program, *arguments = shlex.split(start)
    assert program == "/opt/mailsyncd/bin/mailsyncd"
    assert _parser().parse_args(arguments).config == Path("/etc/mailsyncd/config.toml")
    assert setting(unit, "Type") == ["notify"]
    assert setting(unit, "RestartPreventExitStatus") == ["78"]


SERVICES = ["mailsyncd.service", "mailsyncd@.service", "mailsyncd-once.service"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_unit_runs_commands_that_there_are(name: str) -> None:
    unit = text_of(f"systemd/{name}").replace("%i", "work").replace("%t", "/run")
    for command in (*setting(unit, "ExecStart"), *setting(unit, "ExecReload")):
        program, *arguments = shlex.split(command)
        assert program == "/opt/mailsyncd/bin/mailsyncd"
        _parser().parse_args(arguments)


def test_a_reload_asks_the_socket_that_the_daemon_has_there(tmp_path: Path) -> None:
    for name, directory in (("mailsyncd.service", "mailsyncd"), ("mailsyncd@.service", "mailsyncd-%i")):
        unit = text_of(f"systemd/{name}")
        assert setting(unit, "RuntimeDirectory") == setting(unit, "StateDirectory") == [directory]
        environ = {"RUNTIME_DIRECTORY": f"%t/{directory}", "HOME": "/"}
        socket = load(configured(tmp_path), environ).configuration.daemon.socket
        assert setting(unit, "ExecReload")[0].endswith(f" reload --socket {socket}")


def test_all_units_are_locked_up_alike() -> None:
    boxes = {name: text_of(f"systemd/{name}").partition("UMask=")[2].partition("[")[0] for name in SERVICES}
    assert len({box.strip() for box in boxes.values()}) == 1
    assert all("ProtectSystem=strict" in box for box in boxes.values())


def test_the_unit_waits_longer_than_the_daemon_drains(tmp_path: Path) -> None:
    (stop,) = setting(text_of("systemd/mailsyncd.service"), "TimeoutStopSec")
    assert int(stop.removesuffix("s")) >= drain_timeout(tmp_path) + 5


def drain_timeout(tmp_path: Path) -> float:
    return load(configured(tmp_path), {"HOME": str(tmp_path)}).configuration.daemon.drain_timeout


def configured(tmp_path: Path) -> Path:
    """The smallest configuration."""
    path = tmp_path / "config.toml"
    side = 'auth = "password"\npassword = "x"\n'
    path.write_text(
        f'[outlook]\nemail = "o@outlook.com"\n{side}[[routes]]\ngmail = "a@gmail.com"\nfolder = "A"\n{side}'
    )
    path.chmod(0o600)
    return path


def test_the_image_asks_the_socket_that_the_daemon_has_there(tmp_path: Path) -> None:
    dockerfile = text_of("Dockerfile")
    environ = dict(re.findall(r"(STATE_DIRECTORY|RUNTIME_DIRECTORY)=(\S+)", dockerfile))
    configuration = load(configured(tmp_path), environ).configuration
    assert f"mailsyncd check --fast --socket {configuration.daemon.socket} " in dockerfile
    assert configuration.state.path == Path("/var/lib/mailsyncd/state.db")


def test_the_image_runs_the_program_as_a_plain_user() -> None:
    dockerfile = text_of("Dockerfile")
    (command,) = re.findall(r"^CMD \[(.*)\]$", dockerfile, re.MULTILINE)
    assert _parser().parse_args([one.strip(' "') for one in command.split(",")]).config
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["10001:10001"]
    assert dockerfile.count("--require-hashes") == 2


def test_the_try_on_a_laptop_fits_together() -> None:
    directory = ROOT / "deploy/try"
    configuration = load(
        directory / "config.toml", {"HOME": "/", "STATE_DIRECTORY": "/var/lib"}
    ).configuration
    (route,), (destination,) = configuration.routes, configuration.destinations
    for name, endpoint in (("gmail", route.endpoint), ("outlook", destination.endpoint)):
        assert f"port = {endpoint.port}\n" in (directory / f"{name}.conf").read_text()
    compose = text_of("deploy/compose.yaml")
    assert configuration.state.endpoint_url == "http://127.0.0.1:8000"
    assert "-port 8000" in compose
    assert re.findall(r"-u (\S+)", compose) == [route.route.gmail, destination.email]
    assert f"mailbox {route.route.folder}\n" in compose
    bases = {
        re.findall(r"^ARG BASE=(.*)$", text_of(one), re.M)[0]
        for one in ("Dockerfile", "deploy/try/Dockerfile")
    }
    (base,) = bases
    assert re.fullmatch(r"docker\.io/library/python:3\.13-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert re.search(r"image: docker\.io/amazon/dynamodb-local:[\d.]+@sha256:[0-9a-f]{64}\n", compose)


@pytest.mark.real
def test_the_unit_is_correct_and_locked_up() -> None:
    if shutil.which("systemd-analyze") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("systemd-analyze is not installed")
    done = subprocess.run(
        [str(ROOT / "tests/integration/unit_file.sh")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------- make and scripts


def test_make_alone_lists_its_targets() -> None:
    # Not as a part of the make that may run these tests.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make"], cwd=ROOT, env=environ, check=True, capture_output=True, text=True, timeout=30
    )
    said = done.stdout
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text_of("Makefile"), re.MULTILINE)
    assert [line.split()[0] for line in said.splitlines()] == phony.split()


@pytest.mark.parametrize(
    "script",
    [
        ".ci/run",
        *sorted(
            str(p.relative_to(ROOT))
            for where in ("tests", "deploy")
            for p in (ROOT / where).rglob("*.sh")
            if "node_modules" not in p.parts
        ),
    ],
)
def test_scripts_can_be_run_and_stop_at_the_first_error(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    text = path.read_text()
    posix = text.startswith("#!/bin/sh\n")
    assert ("\nset -eu\n" if posix else "\nset -euo pipefail\n") in text
    subprocess.run(["sh" if posix else "bash", "-n", str(path)], check=True, timeout=30)


@pytest.mark.parametrize("name", ["ci", "deploy"])
def test_a_workflow_pins_what_it_uses_and_may_do_little(name: str) -> None:
    workflow = text_of(f".github/workflows/{name}.yml")
    used = re.findall(r"uses: (.+)", workflow)
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", one)] == []
    assert "\npermissions: {}\n" in workflow
    allowed = set(re.findall(r"^ +([a-z-]+): (?:read|write)\b", workflow, re.MULTILINE))
    writes = set(re.findall(r"^ +([a-z-]+): write\b", workflow, re.MULTILINE))
    assert (allowed - writes, writes) == ({"contents"}, {"id-token"} if name == "deploy" else set())
    assert workflow.count("persist-credentials: false") == workflow.count("uses: actions/checkout@")


def test_everything_runs_on_every_python() -> None:
    workflow = text_of(".github/workflows/ci.yml")
    assert "run: .ci/run" in workflow
    assert 'python: ["3.11", "3.12", "3.13"]' in workflow


def test_a_deployment_hands_over_every_variable_that_there_is() -> None:
    workflow, script = text_of(".github/workflows/deploy.yml"), text_of("deploy/deploy_lambda.sh")
    handed_over = dict(re.findall(r"^ +([A-Z_]+): \$\{\{ vars\.([A-Z_]+) \}\}$", workflow, re.MULTILINE))
    for name in set(handed_over) - {"AWS_REGION"}:
        assert re.search(rf"\$\{{?{name}\b", script), name
    page = text_of("deploy/README.md")
    named = set(re.findall(r"(?:vars|secrets)\.([A-Z_]+)", workflow))
    assert {"AWS_ROLE_ARN", "DEPLOY_ENV", "AWS_SECRETS_MANAGER_SECRET_IDS"} <= named
    assert {one for one in named if f"`{one}`" not in page} == set()
    parameters = set(re.findall(r"^give (\w+) |then give (\w+) |else give (\w+) ", script, re.MULTILINE))
    template = text_of("deploy/lambda.yaml").partition("\nParameters:\n")[2].partition("\nConditions:")[0]
    assert {one for found in parameters for one in found if one} <= set(
        re.findall(r"^  (\w+):", template, re.M)
    )
