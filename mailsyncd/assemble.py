"""Configuration -> objects: a plain list of constructor calls, and the only place that names
concrete classes of the adapters."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from secrets import token_bytes
from typing import TYPE_CHECKING

from mailsyncd.account import Account, AuthKind, Secret
from mailsyncd.config.changes import Footprint
from mailsyncd.config.changes import footprint as footprint_of
from mailsyncd.config.values import (
    Backend,
    Configuration,
    DaemonSettings,
    DestinationSettings,
    RouteSettings,
    StateSettings,
)
from mailsyncd.flow import destination as flow_destination
from mailsyncd.flow import watch as flow_watch
from mailsyncd.flow.allowance import Allowance
from mailsyncd.flow.belt import Belt
from mailsyncd.flow.digest import Digest, Plan
from mailsyncd.flow.gate import Gate
from mailsyncd.flow.lease import Identity, Tenancy
from mailsyncd.flow.preflight import Preflight
from mailsyncd.flow.queue import RefQueue
from mailsyncd.flow.ready import ReadyQueue
from mailsyncd.flow.repairs import Rules
from mailsyncd.flow.routes import RoutePlan, Routes
from mailsyncd.flow.share import Share
from mailsyncd.flow.times import DestinationSettings as Times
from mailsyncd.flow.vouch import Vouch
from mailsyncd.imap.gmail import GmailSource
from mailsyncd.imap.outlook import OutlookSink
from mailsyncd.imap.pace import Pace
from mailsyncd.imap.profiles import choose
from mailsyncd.imap.session import Login, PasswordLogin, TokenLogin
from mailsyncd.libraries import hidden
from mailsyncd.meter import Meter
from mailsyncd.observe.clock import SystemClock
from mailsyncd.observe.process import is_gone, owner
from mailsyncd.ports import Clock, Sink, Source, StateStore, TokenNotes
from mailsyncd.state.notes import NotesWhenNeeded
from mailsyncd.state.sqlite import SqliteStore
from mailsyncd.status import AccountStatus
from mailsyncd.stored import Reference, Vault

if TYPE_CHECKING:
    import httpx

    from mailsyncd.auth.homes import TokenHome
    from mailsyncd.auth.tokens import RefreshingTokens

LOOK = 5.0  # seconds between looks whether anybody signs in by tokens
GMAIL_HOSTS = ("imap.gmail.com", "imap.googlemail.com")
GMAIL_BUDGET = 2_000_000_000  # bytes a day: four fifths of what is documented (A23, A25)


def make_store(settings: StateSettings, clock: Clock) -> StateStore:
    """The state store that the configuration names; not yet opened."""
    if settings.backend is Backend.DYNAMODB:
        # Here, because the SDK takes 19 MiB that the other backend has no use for, and 5 more with httpx,
        # another way to send, of which it makes no use.
        with hidden("httpx"):
            from mailsyncd.state.dynamodb import DynamoStore

        return DynamoStore(
            settings.table, region=settings.region, endpoint_url=settings.endpoint_url, clock=clock
        )
    return SqliteStore(settings.path, clock=clock)


@dataclass(slots=True)
class Accounts:
    """Ways to sign in, one token source an account: routes that share one share its tokens."""

    notes: TokenNotes
    clock: Clock
    rng: Random
    stack: AsyncExitStack
    _clients: dict[Path | None, tuple[int, httpx.AsyncClient]] = field(default_factory=dict)
    _tokens: dict[Account, RefreshingTokens] = field(default_factory=dict)

    def login(self, account: Account, ca_file: Path | None) -> Login:
        if account.kind is AuthKind.PASSWORD:
            return PasswordLogin(account.user, account.password or Secret(""))
        if account not in self._tokens:
            # Here, because httpx takes time and memory that passwords have no use for.
            from mailsyncd.auth.keeper import Keeper
            from mailsyncd.auth.tokens import RefreshingTokens

            keeper = Keeper(account, _home(account), self.notes, self.clock)
            self._tokens[account] = RefreshingTokens(
                account, keeper, self._client(ca_file), clock=self.clock, rng=self.rng
            )
        return TokenLogin(account.user, self._tokens[account])

    async def keep_signed_in(self) -> None:
        """Renew ahead of time, and look for what is needed; until cancelled."""
        while not self._tokens:  # a reload may bring the first
            await self.clock.sleep(LOOK)
        from mailsyncd.auth.upkeep import Upkeep

        await Upkeep(self.sources, self.clock).run()

    def sources(self) -> tuple[RefreshingTokens, ...]:
        return tuple(self._tokens.values())

    def keep(self, accounts: Sequence[tuple[Account, Path | None]]) -> None:
        """Forget the others: no configuration names them any more. Who reloads may have mended something,
        and have another ca_file, or other authorities in it: of an account's several the first counts."""
        wanted = dict(reversed(accounts))
        self._tokens = {one: tokens for one, tokens in self._tokens.items() if one in wanted}
        for one, tokens in self._tokens.items():
            with suppress(OSError):  # the file was changed again since it was read: a later reload sees to it
                tokens.trust(self._client(wanted[one]))
            tokens.look_again()

    def status(self) -> tuple[AccountStatus, ...]:
        return tuple(one.status() for one in self._tokens.values())

    def _client(self, ca_file: Path | None) -> httpx.AsyncClient:
        written = ca_file.stat().st_mtime_ns if ca_file else 0
        if ca_file not in self._clients or self._clients[ca_file][0] != written:
            from mailsyncd.auth.grant import token_client

            client = token_client(ca_file)
            if not self._clients:
                self.stack.push_async_callback(self._close)
            self._clients[ca_file] = (written, client)  # one that is replaced keeps no connection open
        return self._clients[ca_file][1]

    async def _close(self) -> None:
        for _, client in self._clients.values():
            await client.aclose()


def _home(account: Account) -> TokenHome:
    """Where its refresh token stands."""
    from mailsyncd.auth.homes import DocumentHome, FileHome, FixedHome

    home = account.home
    if not home.is_followed:
        return FixedHome(home, account.refresh_token or Secret(""))
    if home.kind == "file":
        return FileHome(Path(home.name))
    # Here, because the SDK takes time and memory that files have no use for.
    from mailsyncd.vault.documents import document

    return DocumentHome(home, document(Reference(Vault(home.kind), home.name), home.region))


def token_notes(settings: StateSettings, store: StateStore) -> NotesWhenNeeded:
    """What the state store remembers of tokens, for who may not have opened it."""
    is_file = settings.backend is Backend.SQLITE
    return NotesWhenNeeded(store, settings.path.exists if is_file else lambda: True)


class Assembly:
    """The parts of one process. Close it after use."""

    def __init__(self, configuration: Configuration) -> None:
        self.clock = SystemClock()
        self.rng = Random()
        self.stack = AsyncExitStack()
        self.store = make_store(configuration.state, self.clock)
        self.gate = Gate(self.store, self.clock, self.rng, grace=configuration.state.grace)
        self.identity = Identity(owner(), is_gone)
        self.salt = token_bytes(16)
        self.share = Share(self.store, self.gate, self.identity, self.clock, life=configuration.state.lease)
        self.pace = Pace(self.clock)
        self.meter = Meter()
        self.queue = RefQueue(configuration.daemon.queue_size)
        self.allowances: dict[str, Allowance] = {}
        notes = token_notes(configuration.state, self.store)
        self.accounts = Accounts(notes, self.clock, self.rng, self.stack)

    async def close(self) -> None:
        await self.stack.aclose()
        await self.store.close()

    def destination(
        self, configuration: Configuration, settings: DestinationSettings
    ) -> flow_destination.Destination:
        """One destination with its routes, ready to run."""
        vouch, ready = Vouch(self.store, self.gate), ReadyQueue(memory(configuration))
        belt = Belt(self.queue, ready, self.store, self.gate, self.clock, self.rng, vouch, meter=self.meter)
        routes = Routes(belt)
        routes.reconcile(self.plans(configuration, settings.name))
        sink, tenancy = self.sink(settings), self.tenancy(configuration.state, settings)
        self.share.join(tenancy)
        plan = digest_plan(configuration)
        routes.digest = Digest(settings.email, tenancy, routes.watches, self.clock, plan)
        return flow_destination.Destination(
            settings.name, sink, belt, routes, tenancy, times(configuration, settings)
        )

    def refit(
        self,
        running: flow_destination.Destination,
        configuration: Configuration,
        old: DestinationSettings,
        new: DestinationSettings,
    ) -> None:
        """Have a running destination go by its new settings, over another connection if it takes that."""
        sink = None if _sink_identity(old) == _sink_identity(new) else self.sink(new)
        running.refit(times(configuration, new), memory(configuration), sink)
        if running.routes.digest is not None:
            running.routes.digest.plan = digest_plan(configuration)

    def prepare(self, configuration: Configuration) -> None:
        """Before anything is touched. Raises ConfigError for what only the making would tell."""
        for account, ca_file in accounts_of(configuration):
            self.accounts.login(account, ca_file)

    def share_out(self, configuration: Configuration) -> None:
        """What all destinations share: as large as it is to be, and free of what nobody wants any more."""
        self.queue.resize(configuration.daemon.queue_size)
        self.accounts.keep(accounts_of(configuration))

    def footprint(self, configuration: Configuration) -> Footprint:
        """What this process goes by with that configuration; marked by this process's own salt."""
        return footprint(configuration, self.salt)

    def sink(self, settings: DestinationSettings) -> Sink:
        profile = choose(
            settings.endpoint.host,
            literals=settings.literals,
            window=settings.window,
            per_second=settings.per_second,
            max_message=settings.max_message_size,
        )
        login = self.accounts.login(settings.account, settings.endpoint.ca_file)
        return OutlookSink(settings.endpoint, login, profile, clock=self.clock, rng=self.rng)

    def tenancy(self, state: StateSettings, settings: DestinationSettings) -> Tenancy:
        return Tenancy(self.store, self.gate, settings.email, self.identity, self.clock, life=state.lease)

    def plans(self, configuration: Configuration, destination: str) -> list[RoutePlan]:
        """The routes into one destination, as they are wanted."""
        (target,) = (one for one in configuration.destinations if one.name == destination)
        return [
            self._plan(configuration.daemon, configuration.state, target, one)
            for one in configuration.routes
            if one.route.destination == destination
        ]

    def source(self, daemon: DaemonSettings, settings: RouteSettings) -> Source:
        return GmailSource(
            settings.endpoint,
            self.accounts.login(settings.account, settings.endpoint.ca_file),
            settings.route.mailbox,
            clock=self.clock,
            rng=self.rng,
            pace=self.pace,
            max_literal=daemon.max_message_size,
            idle_renewal=daemon.idle_renewal,
            poll_interval=daemon.poll_interval,
        )

    def _plan(
        self,
        daemon: DaemonSettings,
        state: StateSettings,
        target: DestinationSettings,
        settings: RouteSettings,
    ) -> RoutePlan:
        in_force = route_in_force(daemon, state, target, settings)
        allowance = self.allowance(daemon, settings)
        source = partial(self.source, daemon, settings)
        return RoutePlan(settings.route, in_force, source, in_force.times, allowance)

    def allowance(self, daemon: DaemonSettings, settings: RouteSettings) -> Allowance:
        """One for all routes of an account, whatever their destination."""
        account, budget = settings.account.user.casefold(), download_budget(daemon, settings)
        if account not in self.allowances:
            self.allowances[account] = Allowance(
                account, budget, self.store, self.gate, self.clock, self.identity.owner
            )
        self.allowances[account].budget = budget
        return self.allowances[account]


@dataclass(frozen=True, slots=True)
class RouteInForce:
    """All that a route goes by. One that stays equal is not touched by a reload."""

    settings: RouteSettings
    times: flow_watch.RouteSettings
    idle_renewal: float
    poll_interval: float


def route_in_force(
    daemon: DaemonSettings, state: StateSettings, target: DestinationSettings, settings: RouteSettings
) -> RouteInForce:
    times = flow_watch.RouteSettings(
        daemon.sweep_interval,
        daemon.uidvalidity_window,
        state.record_ttl,
        max_size(daemon, target),
        preflight(target),
    )
    return RouteInForce(settings, times, daemon.idle_renewal, daemon.poll_interval)


def footprint(configuration: Configuration, salt: bytes) -> Footprint:
    targets = {one.name: one for one in configuration.destinations}

    def in_force(one: RouteSettings) -> RouteInForce:
        target = targets[one.route.destination]
        return route_in_force(configuration.daemon, configuration.state, target, one)

    return footprint_of(configuration, in_force, salt)


def accounts_of(configuration: Configuration) -> list[tuple[Account, Path | None]]:
    """Of both sides, with the authorities that their servers are trusted by."""
    found = [(one.account, one.endpoint.ca_file) for one in configuration.destinations]
    return found + [(one.account, one.endpoint.ca_file) for one in configuration.routes]


def _sink_identity(settings: DestinationSettings) -> tuple[object, ...]:
    """What a destination's connection is made of."""
    limits = (settings.literals, settings.window, settings.per_second, settings.max_message_size)
    return (settings.endpoint, settings.account, *limits)


def memory(configuration: Configuration) -> int:
    """A destination's part of the budget, in bytes."""
    return configuration.daemon.memory_budget // len(configuration.destinations)


def times(configuration: Configuration, settings: DestinationSettings) -> Times:
    """What a destination goes by."""
    daemon, ttl = configuration.daemon, configuration.state.record_ttl
    return Times(settle_window(daemon, settings), ttl, daemon.drain_timeout)


def digest_plan(configuration: Configuration) -> Plan | None:
    notify = configuration.notify
    return Plan(notify.digest_folder, notify.digest_hour) if notify.digest_folder else None


def max_size(daemon: DaemonSettings, target: DestinationSettings) -> int:
    """The largest message, in bytes, that is copied into a destination."""
    profile = choose(target.endpoint.host, max_message=target.max_message_size)
    return min(daemon.max_message_size, profile.max_message or daemon.max_message_size)


def settle_window(daemon: DaemonSettings, target: DestinationSettings) -> float:
    """How long a destination may take to show a copy whose answer was lost, in seconds."""
    return daemon.settle_window if target.settle_window is None else target.settle_window


def download_budget(daemon: DaemonSettings, settings: RouteSettings) -> int:
    """How much may be downloaded of a source account a day, in bytes; 0 for no limit."""
    if daemon.daily_download_budget is not None:
        return daemon.daily_download_budget
    return GMAIL_BUDGET if settings.endpoint.host.lower().rstrip(".") in GMAIL_HOSTS else 0


def preflight(target: DestinationSettings) -> Preflight:
    """What a destination asks of the bytes of a message."""
    profile = choose(target.endpoint.host, max_line=target.max_line_length)
    rules = Rules(target.wrap_long_lines, target.fix_bare_lf, target.disarm_read_receipts)
    return Preflight(profile.max_line, rules)


def readable_store(settings: StateSettings, clock: Clock) -> StateStore | None:
    """The state store for looking only; None if there is none yet."""
    if settings.backend is Backend.DYNAMODB:
        return make_store(settings, clock)
    return SqliteStore(settings.path, clock=clock, read_only=True) if settings.path.exists() else None
