"""From what pydantic has checked to the frozen values: defaults that depend on the machine, paths,
secrets, and the rules that reach over several sections."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

from mailsyncd.config import schema
from mailsyncd.config.locate import Path as KeyPath
from mailsyncd.config.secrets import SecretSpec, resolve
from mailsyncd.config.values import (
    Backend,
    Configuration,
    DaemonSettings,
    DestinationSettings,
    RouteSettings,
    StateSettings,
)
from mailsyncd.model import START_ALL, START_NOW, Account, AuthKind, Endpoint, Route, Secret, Start, StartKind

RESERVED = ("files",)  # folder names that Microsoft's servers refuse (B14)
MICROSOFT = ("office365.com", "outlook.com", "office.com")
LONGEST_SOCKET = 100  # bytes; the kernel takes 107


class Translator:
    """`wrong` collects (key path, sentence); what is returned is good only if it stays empty."""

    def __init__(self, environ: Mapping[str, str], base: Path) -> None:
        self.wrong: list[tuple[KeyPath, str]] = []
        self._environ = environ
        self._base = base

    def configuration(self, settings: schema.Settings) -> Configuration:
        state = self._state(settings.state)
        destinations = self._destinations(settings)
        return Configuration(
            self._daemon(settings.daemon, state),
            state,
            destinations,
            self._routes(settings.routes, destinations),
        )

    # ------------------------------------------------------------ daemon, state

    def _state(self, given: schema.State) -> StateSettings:
        if given.backend == "dynamodb" and not given.region and not given.endpoint_url:
            self.wrong.append(
                (("state", "region"), "is missing; DynamoDB needs a region (or set AWS_REGION)")
            )
        return StateSettings(
            path=self._path(given.path) if given.path else self._state_directory() / "state.db",
            backend=Backend(given.backend),
            table=given.table,
            region=given.region,
            endpoint_url=given.endpoint_url,
            record_ttl=given.record_ttl,
            grace=given.grace,
            lease=given.lease,
        )

    def _state_directory(self) -> Path:
        """systemd's, else the platform's."""
        if given := self._environ.get("STATE_DIRECTORY"):
            return Path(given.partition(":")[0])
        home = Path(self._environ.get("HOME") or Path.home())
        return Path(self._environ.get("XDG_STATE_HOME") or home / ".local/state") / "mailsyncd"

    def _daemon(self, given: schema.Daemon, state: StateSettings) -> DaemonSettings:
        socket = self._path(given.socket) if given.socket else self._socket(state)
        if len(str(socket).encode()) > LONGEST_SOCKET:
            self.wrong.append(
                (("daemon", "socket"), f"{socket} is too long for a socket; choose a shorter path")
            )
        values = {name: getattr(given, name) for name in type(given).model_fields if name != "socket"}
        return DaemonSettings(socket=socket, **values)

    def _socket(self, state: StateSettings) -> Path:
        for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
            if given := self._environ.get(name):
                return Path(given.partition(":")[0]) / "mailsyncd.sock"
        return state.path.parent / "mailsyncd.sock"

    # -------------------------------------------------------- both sides' servers

    def _path(self, text: str) -> Path:
        return self._base / Path(text).expanduser()

    def _endpoint(self, given: schema.Destination | schema.Route, where: KeyPath) -> Endpoint:
        ca_file = self._path(given.ca_file) if given.ca_file else None
        if ca_file is not None and not ca_file.is_file():
            self.wrong.append(((*where, "ca_file"), f"there is no file {ca_file}"))
        return Endpoint(given.host, given.port, given.tls, ca_file)

    def _account(
        self,
        given: schema.Destination | schema.Route,
        user: str,
        token_url: str,
        scope: str | None,
        where: KeyPath,
    ) -> Account:
        return Account(
            user=given.username or user,
            kind=AuthKind(given.auth),
            password=self._secret(given.password, (*where, "password")),
            client_id=given.client_id or "",
            client_secret=self._secret(given.client_secret, (*where, "client_secret")),
            refresh_token=self._secret(given.refresh_token, (*where, "refresh_token")),
            token_url=token_url,
            scope=scope,
        )

    def _secret(self, given: SecretSpec | None, where: KeyPath) -> Secret | None:
        if given is None:
            return None
        try:
            return resolve(given, self._environ, self._base)
        except ValueError as error:
            self.wrong.append((where, str(error)))
            return None

    # -------------------------------------------------------------- destinations

    def _destinations(self, settings: schema.Settings) -> tuple[DestinationSettings, ...]:
        given: list[tuple[KeyPath, schema.Destination]] = [
            (("destinations", n), one) for n, one in enumerate(settings.destinations)
        ]
        if settings.outlook is not None:
            given.insert(0, (("outlook",), settings.outlook))
        if not given:
            self.wrong.append(
                (("outlook",), "is missing: say where the mail goes, in [outlook] with email = ...")
            )
        if settings.outlook is not None and settings.destinations:
            self.wrong.append(
                (("outlook",), "stands beside [[destinations]]; write all of them as [[destinations]]")
            )
        seen: set[str] = set()
        for where, one in given:
            if one.name in seen:
                self.wrong.append(((*where, "name"), f"{one.name!r} is the name of another destination too"))
            seen.add(one.name)
        return tuple(self._destination(one, where) for where, one in given)

    def _destination(self, given: schema.Destination, where: KeyPath) -> DestinationSettings:
        tokens = given.token_url or schema.MICROSOFT_TOKENS.format(tenant=given.tenant)
        return DestinationSettings(
            given.name,
            given.email,
            self._endpoint(given, where),
            self._account(given, given.email, tokens, given.scope, where),
            given.max_message_size,
            given.literals,
            given.window,
            given.per_second,
        )

    # -------------------------------------------------------------------- routes

    def _routes(
        self, given: tuple[schema.Route, ...], destinations: tuple[DestinationSettings, ...]
    ) -> tuple[RouteSettings, ...]:
        if not given:
            self.wrong.append(
                (("routes",), "there is none; write a [[routes]] with gmail = ... and folder = ...")
            )
        known = {one.name: one for one in destinations}
        seen: dict[str, int] = {}
        routes = []
        for number, one in enumerate(given):
            where: KeyPath = ("routes", number)
            target = self._target(one, known, where)
            if target is None:
                continue
            route = self._route(one, target)
            if route.key in seen:
                what = f"is the same route as routes[{seen[route.key] + 1}]: same account, mailbox and folder"
                self.wrong.append((where, what))
            seen.setdefault(route.key, number)
            account = self._account(one, one.gmail, one.token_url, None, where)
            routes.append(RouteSettings(route, self._endpoint(one, where), account))
        return tuple(routes)

    def _target(
        self, given: schema.Route, known: Mapping[str, DestinationSettings], where: KeyPath
    ) -> DestinationSettings | None:
        if given.destination is None and len(known) == 1:
            target = next(iter(known.values()))
        elif given.destination is None:
            if known:
                names = ", ".join(sorted(known))
                self.wrong.append(((*where, "destination"), f"is missing; there are several: {names}"))
            return None
        elif given.destination not in known:
            names = ", ".join(sorted(known)) or "none"
            self.wrong.append(
                (
                    (*where, "destination"),
                    f"there is no destination {given.destination!r}; there are: {names}",
                )
            )
            return None
        else:
            target = known[given.destination]
        if target.endpoint.host.lower().endswith(MICROSOFT) and given.folder.lower() in RESERVED:
            self.wrong.append(
                ((*where, "folder"), f"{given.folder!r} is a name that Outlook keeps for itself")
            )
        return target

    def _route(self, given: schema.Route, target: DestinationSettings) -> Route:
        start = START_NOW if given.start == "now" else START_ALL
        if isinstance(given.start, date):
            start = Start(StartKind.DATE, given.start)
        return Route(
            gmail=given.gmail,
            outlook=target.email,
            folder=given.folder,
            mailbox=given.mailbox,
            destination=target.name,
            start=start,
            filter=given.filter,
            mark_seen=given.mark_seen,
            create_folder=given.create_folder,
        )
