"""Every mistake is told: with its key, its line, what is wrong and what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest

from mailsyncd.config.load import Loaded, load
from mailsyncd.config.schema import SECTIONS
from mailsyncd.errors import ConfigError, Problem

Load = Callable[..., Loaded]

OUTLOOK = '[outlook]\nemail = "me@outlook.com"\nauth = "password"\npassword = "p"\n'
ROUTE = '[[routes]]\ngmail = "me@gmail.com"\nfolder = "Gmail/me"\nauth = "password"\npassword = "p"\n'
OTHER = ROUTE.replace("me@gmail.com", "you@gmail.com").replace("Gmail/me", "Gmail/you")
HERE = "# <- here"


def daemon(line: str) -> str:
    return f"[daemon]\n{line} {HERE}\n{OUTLOOK}{ROUTE}"


def state(line: str) -> str:
    return f"[state]\n{line} {HERE}\n{OUTLOOK}{ROUTE}"


def outlook(line: str, without: str = "") -> str:
    return OUTLOOK.replace(without, "") + f"{line} {HERE}\n{ROUTE}"


def marked(text: str, line: str) -> str:
    """The same, with the mark on this line."""
    return text.replace(line, f"{line} {HERE}", 1)


def route(line: str, without: str = "") -> str:
    """A mistake in the second route."""
    return f"{OUTLOOK}{ROUTE}{OTHER.replace(without, '')}{line} {HERE}\n"


INLINE = "{ " + ", ".join(ROUTE.splitlines()[1:]) + " }"
EMAIL = 'email = "me@outlook.com"\n'
GMAIL = 'gmail = "you@gmail.com"\n'
FOLDER = 'folder = "Gmail/you"\n'
AUTH = 'auth = "password"\n'
PASSWORD = 'password = "p"\n'
SEVERAL = "".join(
    f'[[destinations]]\nname = "{name}"\nemail = "{name}@example.org"\n{AUTH}{PASSWORD}'
    for name in ("a", "b")
)

BROKEN = [
    # what is not known
    (f"wat = 1 {HERE}\n" + OUTLOOK + ROUTE, "wat", "is no known key; there are: daemon"),
    (f"[deamon] {HERE}\n" + OUTLOOK + ROUTE, "deamon", "did you mean daemon?"),
    (daemon('sweep_intervall = "5m"'), "daemon.sweep_intervall", "did you mean sweep_interval?"),
    (daemon("lease = 30"), "daemon.lease", "it belongs to [state]"),
    (outlook('refresh-token = "x"'), "outlook.refresh-token", "did you mean refresh_token?"),
    (route('folders = "x"'), "routes[2].folders", "did you mean folder?"),
    (route('"a b" = 1'), "routes[2].'a b'", "is no known key"),
    # durations, sizes, numbers, words
    (daemon('sweep_interval = "often"'), "daemon.sweep_interval", '"5m"'),
    (daemon("sweep_interval = 4"), "daemon.sweep_interval", "write 5s to 1d"),
    (daemon('settle_window = "2h"'), "daemon.settle_window", "write 0s to 1h"),
    (daemon('idle_renewal = "30m"'), "daemon.idle_renewal", "write 10s to 29m"),
    (daemon("poll_interval = 0"), "daemon.poll_interval", "write 1s to 1h"),
    (daemon('drain_timeout = "1d"'), "daemon.drain_timeout", "write 0s to 10m"),
    (daemon('uidvalidity_window = "31d"'), "daemon.uidvalidity_window", "write 1m to 30d"),
    (daemon('max_message_size = "big"'), "daemon.max_message_size", '"35MB"'),
    (daemon('max_message_size = "3GiB"'), "daemon.max_message_size", "write 1KiB to 2GiB"),
    (daemon("memory_budget = 1000"), "daemon.memory_budget", "write 1MiB to 16GiB"),
    (daemon("queue_size = 0"), "daemon.queue_size", "write 1 to 100000"),
    (daemon('queue_size = "many"'), "daemon.queue_size", "is not a whole number"),
    (daemon("queue_size = true"), "daemon.queue_size", "is not a whole number"),
    (daemon('log_level = "loud"'), "daemon.log_level", "'debug', 'info', 'warning' or 'error'"),
    (daemon('log_format = "xml"'), "daemon.log_format", "'auto', 'json' or 'text'"),
    (daemon('socket = ""'), "daemon.socket", "is empty"),
    (daemon(f'socket = "{"x" * 120}"'), "daemon.socket", "too long for a socket"),
    # the state
    (state('backend = "mysql"'), "state.backend", "'sqlite' or 'dynamodb'"),
    (state("path = 5"), "state.path", "text in quotes"),
    (state('table = "a b"'), "state.table", "is not a table name"),
    (state('region = "Oregon"'), "state.region", "write one like us-west-2"),
    (state('endpoint_url = "http://db.example.org"'), "state.endpoint_url", "must begin with https://"),
    (state('endpoint_url = "https://u:p@db.example.org"'), "state.endpoint_url", "user name or password"),
    (state('record_ttl = "1h"'), "state.record_ttl", "write 1d to 3650d"),
    (state("grace = -1"), "state.grace", "is not a duration"),
    (state('lease = "5s"'), "state.lease", "write 10s to 10m"),
    (state('lease = "11m"'), "state.lease", "write 10s to 10m"),
    (f'[state] {HERE}\nbackend = "dynamodb"\n{OUTLOOK}{ROUTE}', "state.region", "set AWS_REGION"),
    # the destination
    (f'outlook = "me@outlook.com" {HERE}\n{ROUTE}', "outlook", "write [outlook] with its keys below"),
    (outlook('email = "me"', EMAIL), "outlook.email", 'write "name@example.com"'),
    (outlook('host = "imaps://example.org"'), "outlook.host", "without scheme and port"),
    (outlook('host = ""'), "outlook.host", "is not a host name"),
    (outlook("port = 0"), "outlook.port", "write 1 to 65535"),
    (outlook("port = 65536"), "outlook.port", "write 1 to 65535"),
    (outlook("tls = false"), "outlook.tls", "loopback hosts only"),
    (outlook('tls = "perhaps"'), "outlook.tls", "true or false"),
    (outlook('ca_file = "none.pem"'), "outlook.ca_file", "No such file"),
    (outlook('ca_file = "."'), "outlook.ca_file", "is not a file"),
    (outlook('ca_file = "config.toml"'), "outlook.ca_file", "no certificate (PEM) in it"),
    (outlook('auth = "kerberos"', AUTH), "outlook.auth", "'oauth', 'password' or 'service-account'"),
    (outlook("password = 5", PASSWORD), "outlook.password", "is not a secret; write"),
    (outlook('password = ""', PASSWORD), "outlook.password", "is empty"),
    (outlook('password = "a\\nb"', PASSWORD), "outlook.password", "line break"),
    (outlook('password = { env = "NONE" }', PASSWORD), "outlook.password", "NONE is not set"),
    (outlook('password = { env = "a-b" }', PASSWORD), "outlook.password", "takes the name of"),
    (outlook('password = { file = "none" }', PASSWORD), "outlook.password", "can't be read: No such"),
    (outlook('password = { file = "." }', PASSWORD), "outlook.password", "Is a directory"),
    (outlook('password = { credential = "c" }', PASSWORD), "outlook.password", "LoadCredential"),
    (outlook('password = { file = "a\\u0000" }', PASSWORD), "outlook.password", "takes a path"),
    (outlook('password = { ssm = "p//p" }', PASSWORD), "outlook.password", "takes the name of a parameter"),
    (outlook('password = { secretsmanager = "1//p" }', PASSWORD), "outlook.password", "takes the name of"),
    (outlook('password = { env = "A", file = "b" }', PASSWORD), "outlook.password", "is not a secret"),
    (outlook('tenant = "a/b"'), "outlook.tenant", "write consumers"),
    (outlook('token_url = "http://example.org/token"'), "outlook.token_url", "must begin with https://"),
    (outlook('token_url = "https://[x"'), "outlook.token_url", "is not a URL"),
    (outlook('literals = "fast"'), "outlook.literals", "'auto', 'sync' or 'plus'"),
    (outlook("window = 0"), "outlook.window", "write 1 to 1024"),
    (outlook("per_second = -1"), "outlook.per_second", "write 0 to 10000"),
    (outlook("max_line_length = 80"), "outlook.max_line_length", "write 998 to 1000000, or 0"),
    (outlook('max_line_length = "9.9k"'), "outlook.max_line_length", "is not a whole number"),
    (outlook('wrap_long_lines = "perhaps"'), "outlook.wrap_long_lines", ""),
    (outlook('per_second = "few"'), "outlook.per_second", "is not a number"),
    (marked(OUTLOOK, "[outlook]").replace(EMAIL, "") + ROUTE, "outlook.email", "missing"),
    (marked(OUTLOOK, "[outlook]").replace(PASSWORD, "") + ROUTE, "outlook.password", "needs it"),
    # several destinations
    (
        SEVERAL.replace('name = "b"', f'name = "a" {HERE}') + ROUTE + 'destination = "a"',
        "destinations[2].name",
        "'a' is",
    ),
    (
        SEVERAL.replace('"b@example.org"', f'"A@example.org" {HERE}') + ROUTE + 'destination = "a"',
        "destinations[2].email",
        "another destination",
    ),
    (SEVERAL + ROUTE + f'destination = "c" {HERE}', "routes[1].destination", "there are: a, b"),
    (SEVERAL + marked(ROUTE, "[[routes]]"), "routes[1].destination", "there are several"),
    (marked(OUTLOOK, "[outlook]") + SEVERAL + ROUTE + 'destination = "a"', "outlook", "[[destinations]]"),
    # routes
    (f"{OUTLOOK}[routes] {HERE}\n", "routes", "write [[routes]] with its keys below"),
    (f"routes = [1] {HERE}\n{OUTLOOK}", "routes[1]", "write [[routes]] with its keys below"),
    (route('gmail = "you@"', GMAIL), "routes[2].gmail", 'write "name@example.com"'),
    (route('folder = ""', FOLDER), "routes[2].folder", "is empty"),
    (route('folder = " x"', FOLDER), "routes[2].folder", "space at its edge"),
    (route('folder = "a//b"', FOLDER), "routes[2].folder", "part that is empty"),
    (route('folder = "a\\u0007"', FOLDER), "routes[2].folder", "control character"),
    (route('folder = "a\\u0085b"', FOLDER), "routes[2].folder", "control character"),
    (route('folder = "a\\u2028b"', FOLDER), "routes[2].folder", "control character"),
    (route('gmail = "a\\u0090@b"', GMAIL), "routes[2].gmail", "is not an email address"),
    (route('folder = "files"', FOLDER), "routes[2].folder", "Outlook keeps for itself"),
    (route('mailbox = ""'), "routes[2].mailbox", "is empty"),
    (route('start = "yesterday"'), "routes[2].start", "2026-01-31"),
    (route("start = 0001-01-01T00:00:00+23:00"), "routes[2].start", "2026-01-31"),
    (route("start = 12:00:00"), "routes[2].start", "2026-01-31"),
    (route("start = 2999-01-01"), "routes[2].start", "is in the future"),
    (route('filter = "a\\r\\nb"'), "routes[2].filter", "control character"),
    (route('dedupe = "mailbox"'), "routes[2].dedupe", "folder"),
    (route("mark_seen = 2"), "routes[2].mark_seen", "true or false"),
    (route('destination = "gmx"'), "routes[2].destination", "there are: outlook"),
    (route("tls = false"), "routes[2].tls", "loopback hosts only"),
    (OUTLOOK + ROUTE + marked(OTHER.replace(AUTH, ""), "[[routes]]"), "routes[2].client_id", "is missing"),
    (OUTLOOK + ROUTE + marked(OTHER.replace(GMAIL, ""), "[[routes]]"), "routes[2].gmail", "is missing"),
    (OUTLOOK + ROUTE + marked(ROUTE, "[[routes]]"), "routes[2]", "is the same route as routes[1]"),
    (OUTLOOK + ROUTE + marked(ROUTE.replace("me@g", "Me@g"), "[[routes]]"), "routes[2]", "the same route"),
    (OUTLOOK + ROUTE + marked(ROUTE.replace("/me", "/ME"), "[[routes]]"), "routes[2]", "the same route"),
    # tables and arrays on a line
    (f"daemon = {{ queue_size = 0 }} {HERE}\n{OUTLOOK}{ROUTE}", "daemon.queue_size", "write 1 to 100000"),
    (f"daemon.queue_size = 0 {HERE}\n{OUTLOOK}{ROUTE}", "daemon.queue_size", "write 1 to 100000"),
    (f'[daemon]\n"queue\\u005fsize" = 0 {HERE}\n{OUTLOOK}{ROUTE}', "daemon.queue_size", "write 1 to"),
    (
        f"routes = [\n{INLINE},\n{INLINE.replace('Gmail/me', '')}, {HERE}\n]\n{OUTLOOK}",
        "routes[2].folder",
        "is empty",
    ),
    (
        OUTLOOK + ROUTE.replace(PASSWORD, f"[routes.password] {HERE}\nenv = 1\n"),
        "routes[1].password",
        "secret",
    ),
    # what is no TOML
    (f"{OUTLOOK}what is this {HERE}\n{ROUTE}", "", "is not TOML"),
    (f'{OUTLOOK}email = "again" {HERE}\n{ROUTE}', "", "is not TOML"),
    (f'{OUTLOOK}{ROUTE}filter = """ {HERE}\n', "", "is not TOML"),
]


def problems(load_text: Load, text: str, **environ: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, environ)
    return caught.value.problems


@pytest.mark.parametrize(("text", "key", "what"), BROKEN, ids=[f"{key}: {what}" for _, key, what in BROKEN])
def test_a_mistake_is_told_with_key_line_and_remedy(load_text: Load, text: str, key: str, what: str) -> None:
    line = next(number for number, line in enumerate(text.split("\n"), 1) if HERE in line)
    found = problems(load_text, text)
    assert (found[0].where, found[0].line, found[0].source) == (key, line, "config.toml")
    assert what in found[0].what
    assert "\n" not in str(found[0])
    assert {one.where.rpartition(".")[0] for one in found} == {key.rpartition(".")[0]}


def test_the_text_that_these_mistakes_are_made_in_is_good(load_text: Load) -> None:
    assert len(load_text(OUTLOOK + ROUTE + OTHER).configuration.routes) == 2
    assert len(load_text(SEVERAL + ROUTE + 'destination = "a"').configuration.destinations) == 2


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(load_text: Load) -> None:
    text = """
        wat = 1
        [daemon]
        queue_size = 0
        [outlook]
        email = "me"
        tls = false
        [[routes]]
        folder = "Files"
        auth = "password"
        [[routes]]
        gmail = "you@gmail.com"
        folder = "ok"
        start = 2999-01-01
        refresh_token = { env = "NONE" }
        client_id = "c"
    """
    found = problems(load_text, text, MAILSYNCD_STATE__LEASE="1s", MAILSYNCD_STAT__X="1")
    assert [(one.line, one.where) for one in found] == [
        (2, "wat"),
        (4, "daemon.queue_size"),
        (5, "outlook.client_id"),
        (5, "outlook.refresh_token"),
        (6, "outlook.email"),
        (7, "outlook.tls"),
        (8, "routes[1].gmail"),
        (8, "routes[1].password"),
        (9, "routes[1].folder"),
        (14, "routes[2].start"),
        (15, "routes[2].refresh_token"),
        (None, "state.lease"),
        (None, ""),
    ]


def test_what_follows_from_another_mistake_is_not_told_beside_it(load_text: Load) -> None:
    text = (OUTLOOK + ROUTE).replace('auth = "password"', 'auth = "pasword"').replace(PASSWORD, "")
    assert [one.where for one in problems(load_text, text)] == ["outlook.auth", "routes[1].auth"]


def test_two_routes_without_a_folder_are_not_called_the_same(load_text: Load) -> None:
    text = OUTLOOK + 2 * ROUTE.replace('folder = "Gmail/me"\n', "")
    assert [one.where for one in problems(load_text, text)] == ["routes[1].folder", "routes[2].folder"]


def test_nothing_at_all_is_answered_with_what_is_needed() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    assert [one.where for one in caught.value.problems] == ["outlook", "routes"]


@pytest.mark.parametrize(
    ("host", "folder", "good"),
    [
        ("outlook.office365.com", "Files", False),
        ("Imap-Mail.Outlook.COM", "FILES", False),
        ("myoutlook.com", "Files", True),
        ("outlook.office365.com", "Files/a", True),
    ],
)
def test_files_is_reserved_on_microsofts_hosts_only(
    load_text: Load, host: str, folder: str, good: bool
) -> None:
    text = f'{OUTLOOK}host = "{host}"\n{ROUTE.replace("Gmail/me", folder)}'
    if good:
        assert load_text(text).configuration.routes[0].route.folder == folder
    else:
        assert problems(load_text, text)[0].where == "routes[1].folder"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.6.7", "::1", "localhost", "LocalHost"])
def test_a_loopback_host_may_go_without_encryption(load_text: Load, host: str) -> None:
    loaded = load_text(f'{OUTLOOK}host = "{host}"\ntls = false\ntoken_url = "http://127.0.0.1:1/t"\n{ROUTE}')
    assert loaded.configuration.destinations[0].endpoint.tls is False


@pytest.mark.parametrize("host", ["localhost.example.org", "10.0.0.1", "0.0.0.0", "127.0.0.1.example.org"])
def test_any_other_host_may_not(load_text: Load, host: str) -> None:
    found = problems(load_text, f'{OUTLOOK}host = "{host}"\ntls = false\n{ROUTE}')
    assert [one.where for one in found] == ["outlook.tls"]


@pytest.mark.parametrize(
    ("host", "first", "second", "good"),
    [
        ("imap.example.org", "INBOX", "Inbox", False),
        ("imap.example.org", "Mail", "mail", True),
        ("outlook.office365.com", "Mail", "mail", False),
    ],
)
def test_two_names_of_one_folder_are_one_folder(
    load_text: Load, host: str, first: str, second: str, good: bool
) -> None:
    text = f'{OUTLOOK}host = "{host}"\n' + "".join(ROUTE.replace("Gmail/me", one) for one in (first, second))
    if good:
        assert len(load_text(text).configuration.routes) == 2
    else:
        assert [one.where for one in problems(load_text, text)] == ["routes[2]"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("x = " + "[" * 100_000, "is nested too deeply"),
        ("x = " + "[" * 400 + "]" * 400, "is nested too deeply"),
        (".".join("x" * 400) + " = 1", "is nested too deeply"),
        ("x = " + "9" * 5000, "too many digits"),
    ],
)
def test_what_python_itself_gives_up_on_is_a_mistake_like_any_other(
    load_text: Load, text: str, what: str
) -> None:
    (problem,) = problems(load_text, text)
    assert what in str(problem)
    assert str(problem).startswith("config.toml: ")


@pytest.mark.parametrize("wrong", ["outlook = 5", "[[outlook]]", "daemon = true", "state = []"])
def test_what_is_no_section_is_told_though_the_environment_has_one(load_text: Load, wrong: str) -> None:
    name = re.findall("[a-z]+", wrong)[0]
    text = wrong + "\n" + ROUTE if name == "outlook" else f"{wrong}\n{OUTLOOK}{ROUTE}"
    environ = {"OUTLOOK_EMAIL": "me@outlook.com", "LOG_LEVEL": "info", "AWS_REGION": "us-west-2"}
    (problem,) = problems(load_text, text, **environ)
    assert (problem.line, problem.where) == (1, name)
    assert f"write [{name}] with its keys below" in problem.what


NASTY = [
    *("1", "-1", "0", "9" * 400, "1e999", "nan", "-inf", "true", "[]", "{}", "[[[1]]]", "{ a = 1 }", '""'),
    *('" "', '"\\u0000"', '"\\n"', '"\\u2028"', '"é\\U0001F600"', '"a@b"', '"//"', '"[::1"', '"%n{0}"'),
    *("0001-01-01", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "07:32:00", '"http://[x"'),
    *(
        '{ env = "" }',
        '{ env = "\\u0000" }',
        '{ file = "\\u0000" }',
        '{ file = "~" }',
        '{ credential = "." }',
    ),
    f'"{"x" * 5000}"',
]
FIELDS = [
    (name, key)
    for name in ("daemon", "state", "http", "outlook", "routes")
    for key in SECTIONS[name].model_fields
]


def with_value(section: str, key: str, value: str) -> str:
    """A text that is good but for this value."""
    head = "[[routes]]" if section == "routes" else f"[{section}]"
    parts = {"[outlook]": OUTLOOK, "[[routes]]": ROUTE}
    parts[head] = re.sub(rf"(?m)^{key} = .*\n", "", parts.get(head, f"{head}\n"))
    text = "".join(parts.values())
    return text.replace(f"{head}\n", f"{head}\n{key} = {value}\n")


def outcome(load_text: Load, text: str) -> Mapping[str, str] | str:
    """The origins, or the mistakes."""
    try:
        return load_text(text, {"CREDENTIALS_DIRECTORY": "/nonexistent"}).origins
    except ConfigError as error:
        return str(error.problems and error)


@pytest.mark.parametrize(("section", "key"), FIELDS)
def test_a_value_of_whatever_kind_is_taken_or_told(load_text: Load, section: str, key: str) -> None:
    """On reload, any other exception would end the daemon."""
    dotted = f"{section}[1].{key}" if section == "routes" else f"{section}.{key}"
    for value in NASTY:
        text = with_value(section, key, value)
        found = outcome(load_text, text)
        if isinstance(found, str):
            assert dotted.partition(".")[0] in found, text
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", found), text
        else:
            assert found[dotted].startswith("config.toml:"), text


SERVICE_ROUTE = '[[routes]]\ngmail = "me@company.example"\nfolder = "F"\nauth = "service-account"\n'
SERVICE_OUTLOOK = '[outlook]\nemail = "me@company.example"\nauth = "service-account"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (OUTLOOK + SERVICE_ROUTE, ["routes[1].service_key: is missing"]),
        (
            OUTLOOK + SERVICE_ROUTE + 'client_id = "c"\nclient_secret = "s"\n',
            ["routes[1].service_key: is missing"],
        ),
        (
            SERVICE_OUTLOOK + ROUTE,
            [
                "outlook.client_secret: is missing, and so is service_key",
                "outlook.client_id: is missing",
                "outlook.tenant: 'consumers' has no service accounts",
            ],
        ),
        (
            SERVICE_OUTLOOK + 'client_id = "c"\nclient_secret = "s"\ntenant = "common"\n' + ROUTE,
            ["outlook.tenant: 'common' has no service accounts"],
        ),
        (OUTLOOK + SERVICE_ROUTE + 'service_key = "hush"\n', ["routes[1].service_key: has no private key"]),
        (
            OUTLOOK + SERVICE_ROUTE + 'service_key = { env = "KEY" }\n',
            ["routes[1].service_key: the environment variable KEY is not set"],
        ),
    ],
)
def test_what_a_service_account_lacks_is_told(load_text: Load, text: str, told: list[str]) -> None:
    found = [str(one).partition(": ")[2] for one in problems(load_text, text)]
    assert len(found) == len(told)
    assert all(any(line.startswith(start) for line in found) for start in told)
    assert not any("hush" in line for line in found)
