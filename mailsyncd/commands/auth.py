"""`mailsyncd auth gmail` and `auth microsoft`: a person signs in, and the refresh token is stored."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TextIO
from uuid import uuid4

from mailsyncd.auth import device
from mailsyncd.auth.attempt import PATIENCE, Attempt, Forged
from mailsyncd.auth.browser import open_browser
from mailsyncd.auth.consent import Consent
from mailsyncd.auth.grant import Client, Grant, token_client
from mailsyncd.auth.loopback import Loopback
from mailsyncd.auth.paste import Pasted
from mailsyncd.auth.providers import GOOGLE, Provider
from mailsyncd.auth.stores import TokenStore
from mailsyncd.commands.auth_account import Asked, Signing, who_signs_in
from mailsyncd.commands.auth_store import Where, store_for
from mailsyncd.commands.load import with_all_held
from mailsyncd.commands.tables import printable
from mailsyncd.config.applicants import applicants
from mailsyncd.errors import SignInFailed, Transient
from mailsyncd.observe.clock import SystemClock
from mailsyncd.observe.logs import configure
from mailsyncd.ports import Clock
from mailsyncd.tasks import begun

NO_DEVICE_CODES = (
    "Google's device codes give no access to mail: sign in with a browser on this machine or, with "
    "--no-browser, on another"
)


@dataclass(frozen=True, slots=True)
class How:
    """By browser and loopback page, by a pasted address, or by a device code. `stdin` is where the
    address is pasted. `in_testing`: the app is, so that the token will live for a week."""

    port: int | None = None
    no_browser: bool = False
    device: bool = False
    in_testing: bool = False
    stdin: int = 0
    patience: float = PATIENCE
    where: Where = field(default_factory=Where)


async def sign_in(provider: Provider, asked: Asked, how: How, environ: Mapping[str, str], out: TextIO) -> int:
    """0 if a refresh token was stored. Raises SignInFailed, RouteBlocked, ConfigError."""
    if how.device and provider is GOOGLE:
        raise SignInFailed(NO_DEVICE_CODES)
    known = await with_all_held(partial(applicants, asked.config, environ))
    signing = who_signs_in(provider, asked, known)
    configure(signing.log_level, "auto", sys.stderr, uuid4().hex[:12])
    store = store_for(how.where, signing)
    try:
        await store.prove()
        async with token_client(signing.ca_file) as client:
            work = SignIn(provider, signing, how, store, client, SystemClock(), environ, out)
            reference = await work.run()
    except Transient as failure:
        raise SignInFailed(f"{failure}: nothing was stored; try again") from None
    if signing.is_configured and how.where == Where():
        work.say(f"Signed in, and stored where the configuration of {signing.account.user} has it.")
    else:
        work.say(f"Signed in, and stored. In the configuration of {signing.account.user}:")
        work.say(f"\n    refresh_token = {reference}\n")
    trial = ["mailsyncd", "auth", "test", *(("--config", str(asked.config)) if asked.config else ())]
    work.say(f"Try it by: {shlex.join(trial)}")
    return 0


@dataclass(frozen=True, slots=True)
class SignIn:
    """One sign-in, from what the person is told first to what is stored."""

    provider: Provider
    signing: Signing
    how: How
    store: TokenStore
    client: Client
    clock: Clock
    environ: Mapping[str, str]
    out: TextIO

    async def run(self) -> str:
        """What to write in the configuration, once the token is stored."""
        if self.how.device:
            return await self._by_device()
        attempt = Attempt(
            self.signing.account,
            self.provider,
            self.provider.redirect_at(self.how.port),
            self.signing.hint,
        )
        return await (self._by_paste(attempt) if self.how.no_browser else self._by_browser(attempt))

    async def _by_browser(self, attempt: Attempt) -> str:
        async with Loopback(attempt.redirect, attempt.code) as page:
            self.say(
                f"Sign in as {self.signing.account.user}, in the browser that opens now, or at this address:"
            )
            self.say(f"\n{attempt.address()}\n")
            try:
                async with begun(self._open(attempt.address())), asyncio.timeout(self.how.patience):
                    code = await page.code()
            except TimeoutError:
                raise SignInFailed(self._too_late(page)) from None
            reference = await self._keep(await attempt.redeem(self.client, code, self.clock.now()))
            page.tell(worked=True)
            return reference

    async def _open(self, address: str) -> None:
        if not await open_browser(address, self.environ):
            self.say("No browser could be started here: open that address in one on this machine yourself,")
            self.say("or stop, and run this again with --no-browser to use one on another machine.")

    async def _by_paste(self, attempt: Attempt) -> str:
        self.say(f"Sign in as {self.signing.account.user}, in any browser, at this address:")
        self.say(f"\n{attempt.address()}\n")
        self.say(
            f"It ends at an address that begins with {attempt.redirect}? and shows nothing, or an error."
        )
        self.say("Paste that address here:")
        lines = Pasted(self.how.stdin)
        try:
            async with asyncio.timeout(self.how.patience):
                while (line := await lines.line()) is not None:
                    try:
                        code = attempt.pasted(line)
                        break
                    except Forged as forged:
                        self.say(f"{forged}. Once more:")
                else:
                    raise SignInFailed("no address was pasted: nothing was stored")
        except TimeoutError:
            raise SignInFailed(self._too_late()) from None
        return await self._keep(await attempt.redeem(self.client, code, self.clock.now()))

    async def _by_device(self) -> str:
        account = self.signing.account
        prompt = await device.begin(self.client, account, self.clock.now())
        self.say(f"Sign in as {account.user}, in any browser, at {prompt.address}")
        self.say(f"and enter the code {prompt.user_code} there, within {int(prompt.life // 60)} minutes.")
        return await self._keep(await device.wait(self.client, account, self.provider, prompt, self.clock))

    async def _keep(self, grant: Grant) -> str:
        if grant.refresh_token is None:
            raise SignInFailed(f"{self.signing.account.user}: there is no refresh token to store")
        told = Consent(self.clock.now(), self.how.in_testing)
        return await self.store.store(grant.refresh_token, told)

    def _too_late(self, page: Loopback | None = None) -> str:
        what = f"nobody signed in within {round(self.how.patience / 60)} minutes: nothing was stored"
        if page is None or not page.turned_away:
            return what
        return f"{what}. Turned away: " + ", ".join(f"{why} ({n})" for why, n in page.turned_away.items())

    def say(self, text: str) -> None:
        """On the terminal, at once; nothing that came from elsewhere may steer it."""
        print("\n".join(map(printable, text.split("\n"))), file=self.out, flush=True)
