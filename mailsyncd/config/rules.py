"""What several keys must agree on: each rule looks at settings that are right one by one."""

from __future__ import annotations

from datetime import date

from mailsyncd.config import grammar, schema
from mailsyncd.config.locate import KeyPath
from mailsyncd.config.mistakes import Mistakes

RESERVED = ("files",)  # a folder name that Microsoft's servers refuse (B14)
NO_DIRECTORY = ("consumers", "common", "organizations")
_MICROSOFT = ("office365.com", "office.com", "outlook.com")

Placed = tuple[KeyPath, schema.Destination]


def is_microsoft(host: str) -> bool:
    name = host.lower().rstrip(".")
    return any(name == one or name.endswith("." + one) for one in _MICROSOFT)


def placed_destinations(settings: schema.Settings) -> list[Placed]:
    """[outlook] and [[destinations]] alike, each with its key path."""
    several: list[Placed] = [(("destinations", n), one) for n, one in enumerate(settings.destinations)]
    return several if settings.outlook is None else [(("outlook",), settings.outlook), *several]


def target_of(route: schema.Route, destinations: list[Placed]) -> Placed | None:
    """Where a route leads: by name, or to the only one there is."""
    wanted = [one for one in destinations if route.destination in (None, one[1].name)]
    return wanted[0] if len(wanted) == 1 else None


def check(settings: schema.Settings, today: date, mistakes: Mistakes) -> None:
    """Apply every rule."""
    _state(settings.state, mistakes)
    _http(settings.http, mistakes)
    destinations = placed_destinations(settings)
    if not destinations:
        what = "is missing: say where the mail goes, in [outlook] with email = ..."
        mistakes.add(("outlook",), what, ("destinations",))
    if settings.outlook is not None and settings.destinations:
        what = "stands beside [[destinations]]; write all of them as [[destinations]]"
        mistakes.add(("outlook",), what)
    for where, one in destinations:
        _server(one, where, mistakes)
    _distinct_destinations(destinations, mistakes)
    if not settings.routes:
        mistakes.add(("routes",), "there is none; write a [[routes]] with gmail = ... and folder = ...")
    for number, route in enumerate(settings.routes):
        _server(route, ("routes", number), mistakes)
        _route(route, ("routes", number), destinations, today, mistakes)
    _distinct_routes(settings.routes, destinations, mistakes)
    _digest(settings, mistakes)


def _digest(settings: schema.Settings, mistakes: Mistakes) -> None:
    """What is in a route's folder is compared with what was copied: nothing else is to come into it."""
    folder = settings.notify.digest_folder
    taken = {"inbox", *(route.folder.casefold() for route in settings.routes)}
    if folder is not None and folder.casefold() in taken:
        what = f"{grammar.shown(folder)} is where mail goes; name another folder"
        mistakes.add(("notify", "digest_folder"), what)


def _state(state: schema.State, mistakes: Mistakes) -> None:
    if state.backend == "dynamodb" and state.region is None:
        mistakes.add(
            ("state", "region"), "is missing; DynamoDB needs one (or set AWS_REGION)", ("state", "backend")
        )


def _http(http: schema.Http, mistakes: Mistakes) -> None:
    """What other machines may ask for, they have to be let in to."""
    if http.listen == schema.OFF or http.token is not None:
        return
    host, _ = schema.listening(http.listen)
    if not schema.is_loopback(host):
        what = f"is missing; {host} is no loopback address, so whoever asks has to show a token"
        mistakes.add(("http", "token"), what, ("http", "listen"))


def _server(server: schema.Server, where: KeyPath, mistakes: Mistakes) -> None:
    """Encryption, and what it takes to sign in."""
    if not server.tls and not schema.is_loopback(server.host):
        what = f"false is for loopback hosts only, and {server.host} is none; write tls = true"
        mistakes.add((*where, "tls"), what, (*where, "host"))
    auth = (*where, "auth")
    if server.auth == "password" and server.password is None:
        mistakes.add((*where, "password"), 'is missing; auth = "password" needs it', auth)
    if server.auth == "oauth":
        command = "gmail" if isinstance(server, schema.Route) else "microsoft"
        hints = {
            "client_id": "is missing; docs/sign-in.md tells how to get one",
            "refresh_token": f"is missing; `mailsyncd auth {command}` gets one",
        }
        for key, hint in hints.items():
            if getattr(server, key) is None:
                what = f'{hint} (or write auth = "password" and a password)'
                mistakes.add((*where, key), what, auth)
    if server.auth == "service-account":
        service_account(server, where, mistakes)


def service_account(server: schema.Server, where: KeyPath, mistakes: Mistakes) -> None:
    """What it takes to sign in without a person."""
    auth = (*where, "auth")
    by_secret = server.service_key is None and server.client_secret is not None
    is_ours = server.token_url is None or server.token_url == schema.GOOGLE_TOKENS
    if isinstance(server, schema.Route) and server.service_key is None and (is_ours or not by_secret):
        what = "is missing; a Google service account needs its JSON key: see docs/sign-in.md"
        mistakes.add((*where, "service_key"), what, auth)
        return
    if isinstance(server, schema.Destination) and server.service_key is None and not by_secret:
        what = "is missing, and so is service_key (a certificate); an application needs one of them"
        mistakes.add((*where, "client_secret"), what, auth)
    if (by_secret or isinstance(server, schema.Destination)) and server.client_id is None:
        mistakes.add((*where, "client_id"), "is missing; docs/sign-in.md tells how to get one", auth)
    if isinstance(server, schema.Destination) and is_ours and server.tenant in NO_DIRECTORY:
        what = f"{server.tenant!r} has no service accounts; write your directory's name or id"
        mistakes.add((*where, "tenant"), what, auth)


def _distinct_destinations(destinations: list[Placed], mistakes: Mistakes) -> None:
    """The lease is taken by email: two destinations that share one would lock each other out."""
    for key in ("name", "email"):
        seen: set[str] = set()
        for where, one in destinations:
            value = str(getattr(one, key))
            if value.casefold() in seen and not mistakes.is_broken((*where, key)):
                mistakes.add((*where, key), f"{value!r} is the {key} of another destination too")
            if not mistakes.is_broken((*where, key)):
                seen.add(value.casefold())


def _route(
    route: schema.Route, where: KeyPath, destinations: list[Placed], today: date, mistakes: Mistakes
) -> None:
    if isinstance(route.start, date) and route.start > today:
        what = f"{route.start} is in the future; write a day that has begun"
        mistakes.add((*where, "start"), what)
    target = target_of(route, destinations)
    if target is not None and is_microsoft(target[1].host) and route.folder.lower() in RESERVED:
        what = f"{route.folder!r} is a name that Outlook keeps for itself; choose another"
        mistakes.add((*where, "folder"), what, (*target[0], "host"))
    if target is None:
        _no_target(route, where, destinations, mistakes)


def _no_target(route: schema.Route, where: KeyPath, destinations: list[Placed], mistakes: Mistakes) -> None:
    names = sorted({one.name for _, one in destinations})
    if not names or route.destination in names:  # there is none, or one of two: told already
        return
    named = route.destination is not None
    what = f"{route.destination!r} is the name of none" if named else "is missing, and there are several"
    unsure = [(*place, "name") for place, _ in destinations]
    mistakes.add((*where, "destination"), f"{what}; there are: {', '.join(names)}", *unsure)


def _distinct_routes(
    routes: tuple[schema.Route, ...], destinations: list[Placed], mistakes: Mistakes
) -> None:
    seen: dict[tuple[str, ...], int] = {}
    for number, route in enumerate(routes):
        where: KeyPath = ("routes", number)
        target = target_of(route, destinations)
        parts = [(*where, key) for key in ("gmail", "folder", "mailbox", "destination")]
        if target is None or any(mistakes.is_broken(part) for part in parts):
            continue
        mailbox = "INBOX" if route.mailbox.upper() == "INBOX" else route.mailbox
        key = (route.gmail.casefold(), mailbox, target[1].name, _folder(route, target[1]))
        if key in seen:
            what = f"is the same route as routes[{seen[key] + 1}]: same account, mailbox and folder"
            mistakes.add(where, what)
        seen.setdefault(key, number)


def _folder(route: schema.Route, target: schema.Destination) -> str:
    """One name for one folder: INBOX is the same in any case (RFC 3501 5.1), and so is every name
    of Microsoft's (B13)."""
    if is_microsoft(target.host) or route.folder.upper() == "INBOX":
        return route.folder.casefold()
    return route.folder
