"""The two servers that the sign-in's protocol is tried on: the simulator, and a certified one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from joserfc.jwk import RSAKey
from needs import lack
from oauth_server import OAuthServer, lacking
from oauth_targets import Certified, Simulated, Target
from service_provider import KEY, public_pem

from mailsyncd.observe.clock import SystemClock
from mailsyncd.sim import TokenEndpoint


@pytest.fixture(scope="session")
def certified() -> Iterator[OAuthServer]:
    if why := lacking():
        lack(why)
    with OAuthServer.run(OAUTH_KEY=json.dumps(RSAKey.import_key(public_pem(KEY)).as_dict())) as server:
        yield server


@pytest.fixture(params=["simulated", "certified"])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[Target]:
    if request.param == "certified":
        yield Certified(request.getfixturevalue("certified"))
        return
    async with TokenEndpoint(SystemClock()) as endpoint:
        endpoint.revokes_rotated = True
        endpoint.consents.interval = 0.1
        yield Simulated(endpoint)
