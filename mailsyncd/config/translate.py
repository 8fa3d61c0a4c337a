"""From checked settings to the frozen values: defaults that depend on the machine, paths, secrets."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from datetime import date
from hashlib import blake2b
from pathlib import Path

from mailsyncd import service_key
from mailsyncd.account import Account, AuthKind, Endpoint, Secret
from mailsyncd.config import schema
from mailsyncd.config.homes import Homes, issuer_of
from mailsyncd.config.locate import KeyPath, dotted
from mailsyncd.config.mistakes import Mistakes
from mailsyncd.config.rules import Placed, placed_destinations, target_of
from mailsyncd.config.secrets import NotNow, SecretSpec, resolve, within
from mailsyncd.config.values import (
    Backend,
    Configuration,
    DaemonSettings,
    DestinationSettings,
    HttpSettings,
    NotifySettings,
    RouteSettings,
    StateSettings,
)
from mailsyncd.model import START_ALL, START_NOW, Dedupe, Route, Start, StartKind
from mailsyncd.stored import Held, Reference

BEARER = r"[A-Za-z0-9._~+/=-]{16,1024}"  # RFC 6750 2.1; a shorter one is guessed
CA_MARK = 8  # bytes
LONGEST_SOCKET = 100  # bytes; the kernel takes 107


class Translator:
    """What it can't find goes to `mistakes`; what it returns is good only if there are none.

    `held`: what AWS's stores gave; None, if they are not to be asked and their secrets stay unknown.
    `wanted`: what they would have to give besides.
    `variables`: dotted key -> the variable that a default was taken from.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        base: Path,
        mistakes: Mistakes,
        held: Held | None,
        homes: Homes | None = None,
    ) -> None:
        self.variables: dict[str, str] = {}
        self.wanted: set[Reference] = set()
        self._held = held
        self._environ = environ
        self._base = base
        self._mistakes = mistakes
        self._homes = homes or Homes(environ, base)

    def configuration(self, settings: schema.Settings) -> Configuration:
        state = self._state(settings.state)
        placed = placed_destinations(settings)
        destinations = tuple(self._destination(one, where) for where, one in placed)
        routes = [self._route(one, ("routes", n), placed) for n, one in enumerate(settings.routes)]
        complete = tuple(one for one in routes if one is not None)
        http = self._http(settings.http)
        daemon, notify = self._daemon(settings.daemon, state), self._notify(settings.notify)
        return Configuration(daemon, state, destinations, complete, http, notify)

    def socket(self, settings: schema.Settings) -> Path:
        """That of the daemon, for who needs nothing else."""
        return self._daemon(settings.daemon, self._state(settings.state)).socket

    # ------------------------------------------------------------ daemon, state

    def _state(self, given: schema.State) -> StateSettings:
        return StateSettings(
            path=self._path(given.path) if given.path else self._default_state_path(),
            backend=Backend(given.backend),
            table=given.table,
            region=given.region,
            endpoint_url=given.endpoint_url,
            record_ttl=given.record_ttl,
            grace=given.grace,
            lease=given.lease,
        )

    def _default_state_path(self) -> Path:
        """In systemd's directory, else in the platform's."""
        if systemd := self._directory("state.path", "STATE_DIRECTORY"):
            return systemd / "state.db"
        platform = self._directory("state.path", "XDG_STATE_HOME")
        home = Path(self._environ.get("HOME") or Path.home())
        return (platform or home / ".local/state") / "mailsyncd" / "state.db"

    def _daemon(self, given: schema.Daemon, state: StateSettings) -> DaemonSettings:
        socket = self._path(given.socket) if given.socket else self._default_socket(state)
        if len(os.fsencode(socket)) > LONGEST_SOCKET:
            what = f"{socket} is too long for a socket; choose a path of {LONGEST_SOCKET} bytes at most"
            self._mistakes.add(("daemon", "socket"), what)
        values = {name: getattr(given, name) for name in type(given).model_fields if name != "socket"}
        return DaemonSettings(socket=socket, **values)

    def _default_socket(self, state: StateSettings) -> Path:
        for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
            if directory := self._directory("daemon.socket", name):
                return directory / "mailsyncd.sock"
        return state.path.parent / "mailsyncd.sock"

    def _http(self, given: schema.Http) -> HttpSettings:
        token = self._secret(given.token, ("http", "token"))
        is_unknown = self._held is None and given.token is not None and given.token.reference is not None
        if token is not None and not is_unknown and not re.fullmatch(BEARER, token.reveal()):
            what = "must have 16 characters or more: letters, digits, and -._~+/= in any place"
            self._mistakes.add(("http", "token"), what)
        return HttpSettings(given.listen, token, given.hosts)

    def _notify(self, given: schema.Notify) -> NotifySettings:
        """The address of a webhook is a secret where whoever knows it may post there."""
        webhook = self._secret(given.webhook, ("notify", "webhook"))
        is_unknown = self._held is None and given.webhook is not None and given.webhook.reference is not None
        if webhook is not None and not is_unknown and (what := schema.url_mistake(webhook.reveal())):
            self._mistakes.add(("notify", "webhook"), what)
        values = {name: getattr(given, name) for name in type(given).model_fields if name != "webhook"}
        return NotifySettings(webhook=webhook, **values)

    def _directory(self, key: str, variable: str) -> Path | None:
        """What systemd or the platform says; systemd may name several, the first is ours."""
        if not (given := self._environ.get(variable)):
            return None
        self.variables[key] = variable
        return Path(given.partition(":")[0])

    # -------------------------------------------------------- both sides' servers

    def _path(self, text: str) -> Path:
        return within(self._base, text, self._environ)

    def endpoint(self, given: schema.Server, where: KeyPath) -> Endpoint:
        """Where a section's server is."""
        ca_file, mark = self._path(given.ca_file) if given.ca_file else None, ""
        if ca_file is not None:
            try:
                mark = _authorities(ca_file)
            except ValueError as what:
                self._mistakes.add((*where, "ca_file"), str(what))
        return Endpoint(given.host, given.port, given.tls, ca_file, mark)

    def account(self, given: schema.Destination | schema.Route, where: KeyPath) -> Account:
        """Who signs in to a section's server, and with what."""
        email, tenant, devices = _side(given)
        token_url = given.token_url or schema.MICROSOFT_TOKENS.format(tenant=tenant)
        home = self._homes.of(given.refresh_token, dotted((*where, "refresh_token")))
        return Account(
            user=given.username or email,
            kind=AuthKind(given.auth),
            password=self._secret(given.password, (*where, "password")),
            client_id=given.client_id or "",
            client_secret=self._secret(given.client_secret, (*where, "client_secret")),
            refresh_token=self._secret(given.refresh_token, (*where, "refresh_token")),
            service_key=self._service_key(given, where),
            token_url=token_url,
            scope=_scope(given),
            authorize_url=given.authorize_url or schema.MICROSOFT_CONSENT.format(tenant=tenant),
            device_url=devices,
            issuer=issuer_of(given, token_url),
            home=home,
            in_testing=isinstance(given, schema.Route) and given.app_in_testing,
            remedy=self._homes.remedy(given, home),
        )

    def _service_key(self, given: schema.Destination | schema.Route, where: KeyPath) -> Secret | None:
        """It is read here for its mistakes, which would else show at the first token."""
        place = (*where, "service_key")
        found = self._secret(given.service_key, place, has_lines=True)
        if found is None or not found.reveal():
            return found
        try:
            is_google = isinstance(service_key.read(found), service_key.GoogleKey)
        except ValueError as error:
            self._mistakes.add(place, str(error))
            return None
        if is_google is not isinstance(given, schema.Route) and "token_url" not in given.model_fields_set:
            whose, other = ("Google", "Microsoft") if is_google else ("Microsoft", "Google")
            self._mistakes.add(place, f"is a key for {whose}, and the token comes from {other} here")
        return found

    def _secret(self, given: SecretSpec | None, where: KeyPath, *, has_lines: bool = False) -> Secret | None:
        if given is None:
            return None
        reference, held = given.reference, self._held
        if reference and held is None:
            return Secret("")
        if reference and held is not None and reference not in held:
            self.wanted.add(reference)
            return None
        try:
            return resolve(given, self._environ, self._base, held or {}, has_lines=has_lines)
        except NotNow as error:
            self._mistakes.passing.append((where, str(error)))
            return None
        except ValueError as error:
            self._mistakes.add(where, str(error))
            return None

    # ------------------------------------------------------ destinations and routes

    def _destination(self, given: schema.Destination, where: KeyPath) -> DestinationSettings:
        return DestinationSettings(
            given.name,
            given.email,
            self.endpoint(given, where),
            self.account(given, where),
            given.max_message_size,
            given.literals,
            given.window,
            given.per_second,
            given.tenant,
            max_line_length=given.max_line_length,
            wrap_long_lines=given.wrap_long_lines,
            fix_bare_lf=given.fix_bare_lf,
            disarm_read_receipts=given.disarm_read_receipts,
            settle_window=given.settle_window,
        )

    def _route(self, given: schema.Route, where: KeyPath, placed: list[Placed]) -> RouteSettings | None:
        """None without a destination, which the rules have told already."""
        account = self.account(given, where)
        endpoint = self.endpoint(given, where)
        target = target_of(given, placed)
        if target is None:
            return None
        route = Route(
            gmail=given.gmail,
            outlook=target[1].email,
            folder=given.folder,
            mailbox=given.mailbox,
            destination=target[1].name,
            start=_start(given.start),
            filter=given.filter,
            mark_seen=given.mark_seen,
            create_folder=given.create_folder,
            dedupe=Dedupe(given.dedupe),
        )
        return RouteSettings(route, endpoint, account)


def _side(given: schema.Destination | schema.Route) -> tuple[str, str, str]:
    """Email, tenant, and device endpoint, which only Microsoft's side has."""
    if isinstance(given, schema.Route):
        return given.gmail, "", ""
    devices = given.device_url or schema.MICROSOFT_DEVICES.format(tenant=given.tenant)
    return given.email, given.tenant, devices


def _scope(given: schema.Destination | schema.Route) -> str | None:
    """What a service account needs by default is not what a person does."""
    if given.auth != AuthKind.SERVICE_ACCOUNT.value or "scope" in given.model_fields_set:
        return given.scope
    return schema.GOOGLE_SCOPE if isinstance(given, schema.Route) else schema.MICROSOFT_SERVICE_SCOPE


def _authorities(path: Path) -> str:
    """A mark of what is in a ca_file. Raises ValueError for what is wrong with it, if anything is."""
    try:
        if path.exists() and not path.is_file():  # a named pipe would hold up the start for ever
            raise ValueError(f"{path} is not a file")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        return blake2b(path.read_bytes(), digest_size=CA_MARK).hexdigest()
    except ssl.SSLError:
        raise ValueError(f"{path} has no certificate (PEM) in it") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None


def _start(given: str | date) -> Start:
    if isinstance(given, date):
        return Start(StartKind.DATE, given)
    return START_NOW if given == "now" else START_ALL
