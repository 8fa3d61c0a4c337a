"""A configuration with secrets in AWS, as its user runs the commands; no value is ever shown."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bed import Bed, Route
from cloud import Cloud
from corpus import varied

pytestmark = pytest.mark.xdist_group("moto")
CANARY = "C4N4RY-secret"
FORMS = (CANARY, base64.b64encode(CANARY.encode()).decode().rstrip("=")[:-1])
CONFIG = """
[state]
region = "us-west-2"
[outlook]
email = "me@outlook.com"
client_id = "c"
refresh_token = { ssm = "/mail-syncer/outlook", key = "MS_REFRESH_TOKEN" }
[[routes]]
gmail = "me@gmail.com"
folder = "Gmail/me"
auth = "password"
password = { secretsmanager = "mail-syncer/password" }
"""
ROUTES = [
    {
        "GMAIL_EMAIL": "me@gmail.com",
        "GMAIL_CLIENT_ID": "c",
        "GMAIL_REFRESH_TOKEN": CANARY,
        "OUTLOOK_TARGET_FOLDER": "Gmail",
    }
]


def run(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    base = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_EC2_METADATA_DISABLED": "true",
        "MAILSYNCD_DAEMON__LOG_LEVEL": "debug",
    }
    done = subprocess.run(
        [sys.executable, "-m", "mailsyncd", *arguments],
        cwd=cwd,
        env={**base, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not [form for form in FORMS if form in done.stdout + done.stderr]
    return done


async def test_references_are_checked_against_aws_and_shown_without_it(cloud: Cloud, tmp_path: Path) -> None:
    await cloud.parameter("/mail-syncer/outlook", json.dumps({"MS_REFRESH_TOKEN": CANARY}))
    await cloud.secret("mail-syncer/password", SecretString=CANARY)
    (tmp_path / "config.toml").write_text(CONFIG)
    given = ("--config", "config.toml")
    done = run("config", "check", *given, cwd=tmp_path, AWS_ENDPOINT_URL=cloud.url)
    assert (done.returncode, done.stderr) == (0, "")
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    shown = run("config", "show", *given, "--json", cwd=tmp_path, **nowhere)
    assert json.loads(shown.stdout)["outlook.refresh_token"] == {"value": "***", "from": "config.toml:7"}
    assert run("check", *given, cwd=tmp_path, **nowhere).returncode == 3


async def test_every_mistake_is_a_line_and_the_status_says_whether_it_may_pass(
    cloud: Cloud, tmp_path: Path
) -> None:
    await cloud.parameter("/mail-syncer/outlook", json.dumps({"OTHER": CANARY}))
    (tmp_path / "config.toml").write_text(CONFIG.replace('email = "me@outlook.com"', 'email = "me"'))
    done = run("config", "check", "--config", "config.toml", cwd=tmp_path, AWS_ENDPOINT_URL=cloud.url)
    assert done.returncode == 78
    email, token, password = done.stderr.splitlines()
    assert email.startswith("mailsyncd: config.toml:5: outlook.email: 'me' is not an email address")
    place = "mailsyncd: config.toml:7: outlook.refresh_token: SSM parameter /mail-syncer/outlook: "
    assert token == place + "has no key MS_REFRESH_TOKEN"
    place = "mailsyncd: config.toml:12: routes[1].password: Secrets Manager secret mail-syncer/password: "
    assert password == place + "does not exist"
    (tmp_path / "config.toml").write_text(CONFIG)
    done = run("run-once", "--config", "config.toml", cwd=tmp_path, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert done.returncode == 75
    assert len(done.stderr.splitlines()) == 2
    assert all("can't be reached" in line for line in done.stderr.splitlines())
    assert not (tmp_path / ".local").exists()


async def test_an_earlier_deployment_needs_nothing_but_its_variables(cloud: Cloud, tmp_path: Path) -> None:
    stored = {"OUTLOOK_EMAIL": "me@outlook.com", "MS_CLIENT_ID": "c", "MS_REFRESH_TOKEN": CANARY}
    await cloud.parameter("/mail-syncer/outlook", json.dumps(stored))
    await cloud.secret(
        "mail-syncer/routes", SecretString=json.dumps({"SYNC_ROUTES_JSON": json.dumps(ROUTES)})
    )
    names = {
        "AWS_SSM_PARAMETER_NAMES": "/mail-syncer/outlook",
        "AWS_SECRETS_MANAGER_SECRET_IDS": "mail-syncer/routes",
        "AWS_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": cloud.url,
    }
    done = run("config", "check", cwd=tmp_path, **names)
    assert done.returncode == 0
    assert done.stdout.startswith("the environment is good: 1 route, 1 destination")
    done = run("config", "check", cwd=tmp_path, **{**names, "AWS_SSM_PARAMETER_NAMES": "/none"})
    said = "mailsyncd: environment AWS_SSM_PARAMETER_NAMES: SSM parameter /none: does not exist\n"
    assert (done.returncode, done.stderr) == (78, said)


def test_the_sdk_is_loaded_only_where_aws_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG.replace("{ s", '"x" # { s'))
    program = (
        "import asyncio, sys; from pathlib import Path; from mailsyncd.commands.config import check; "
        "asyncio.run(check(Path('config.toml'), {}, sys.stdout)); print('botocore' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


async def test_secrets_are_migrated_and_then_used(cloud: Cloud, tmp_path: Path) -> None:
    await cloud.secret("mail-syncer/outlook", SecretString=json.dumps({"MS_REFRESH_TOKEN": CANARY}))
    await cloud.secret("mail-syncer/password", SecretString=CANARY)
    (tmp_path / "config.toml").write_text(CONFIG)
    mapping = ("--mapping", "mail-syncer/outlook=/mail-syncer/outlook")
    migrate = ("secrets", "migrate", "--region", "us-west-2", *mapping)
    for more, status in ((("--dry-run",), 0), ((), 0), ((), 1), (("--overwrite",), 0)):
        done = run(*migrate, *more, cwd=tmp_path, AWS_ENDPOINT_URL=cloud.url)
        assert done.returncode == status, done.stderr
    given = ("--config", "config.toml")
    assert run("config", "check", *given, cwd=tmp_path, AWS_ENDPOINT_URL=cloud.url).returncode == 0
    assert run("secrets", "migrate", cwd=tmp_path).returncode == 2


LOUD = f"""
import asyncio, sys
from mailsyncd.account import Secret
from mailsyncd.errors import MailsyncError
from mailsyncd.observe.logs import configure
from mailsyncd.stored import Reference, Vault
from mailsyncd.vault.documents import document
from mailsyncd.vault.read import read

async def main():
    for one in (Reference(Vault.SSM, "/loud"), Reference(Vault.SECRETS_MANAGER, "loud")):
        await document(one, "us-west-2").write("A", Secret("{CANARY}"))
        await document(one, "us-west-2").write("B", Secret("b"))
        print(len(await read([one], "us-west-2")))
        try:
            await document(one, "us-west-2").write("C", Secret("{CANARY}" * 9000))
        except MailsyncError as error:
            print(repr(error))

configure("debug", "json", sys.stdout, "run")
asyncio.run(main())
"""


def test_libraries_at_debug_level_show_nothing_of_what_is_read_and_written(cloud: Cloud) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    environ = {**os.environ, **dict.fromkeys(names, "x"), "AWS_ENDPOINT_URL": cloud.url}
    done = subprocess.run(
        [sys.executable, "-c", LOUD], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[0] == "1"
    assert "RouteBlocked" in done.stdout
    assert not [form for form in FORMS if form in done.stdout + done.stderr]


@pytest.mark.real
async def test_a_running_daemon_reads_aws_anew_at_each_reload_and_lives_on_without_it(
    cloud: Cloud, bed: Bed
) -> None:
    await cloud.parameter("/mail/one", json.dumps({"SECRET": CANARY}))
    aws = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": cloud.url}
    bed = replace(bed, environ={**bed.environ, **aws, "AWS_REGION": "us-west-2"})
    first = Route("src1", "Gmail/src1", {"client_secret": '{ ssm = "/mail/one", key = "SECRET" }'})
    second = Route("src2", "Gmail/src2", {"client_secret": '{ secretsmanager = "mail/two" }'})
    bed.configure(first, daemon='log_level = "debug"')
    with bed.daemon() as daemon:
        daemon.await_event("route.connected")
        bed.configure(first, second, daemon='log_level = "debug"')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_event("config.reload_failed")
        (failed,) = daemon.events("config.reload_failed")
        said = "routes[2].client_secret: Secrets Manager secret mail/two: does not exist"
        assert str(failed["error"]).endswith(said)
        bed.deliver("src1", varied(1, 1))
        daemon.await_event("message.copied")
        await cloud.secret("mail/two", SecretString=CANARY)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.await_event("config.reloaded")
        daemon.await_event("route.connected", 2)
        bed.deliver("src2", varied(2, 1))
        daemon.await_event("message.copied", 2)
        assert daemon.stop() == 0
    assert not [form for form in FORMS if form in daemon.log.read_text()]
