"""AWS's stores as their owner uses them, past the line that tests watch."""

from __future__ import annotations

from typing import Any

from aiobotocore.session import get_session

REGION = "us-west-2"


class Cloud:
    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, service: str, method: str, **arguments: Any) -> dict[str, Any]:
        made: Any = get_session().create_client(service, region_name=REGION, endpoint_url=self.url)
        async with made as client:
            answer: dict[str, Any] = await getattr(client, method)(**arguments)
            return answer

    async def parameter(self, name: str, value: str, **more: Any) -> dict[str, Any]:
        more = {"Type": "SecureString", **more}
        return await self.ask("ssm", "put_parameter", Name=name, Value=value, **more)

    async def secret(self, name: str, **value: Any) -> dict[str, Any]:
        return await self.ask("secretsmanager", "create_secret", Name=name, **value)

    async def value_of(self, name: str) -> dict[str, Any]:
        """Of a parameter: Value, Type, Version."""
        answer = await self.ask("ssm", "get_parameter", Name=name, WithDecryption=True)
        found: dict[str, Any] = answer["Parameter"]
        return found
