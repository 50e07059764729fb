"""The servers that hold the models: which one a page goes to, and what they have."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from countersign.address import Address, Tls, address
from countersign.client import connect_async
from countersign.drivers import AsyncConnection
from countersign.errors import CountersignError, Refused, Unavailable
from countersign.messages import (
    DETECTOR,
    Config,
    Infer,
    Model,
    Parameters,
    Statistics,
    to_models,
    to_versions,
)
from gateway.traces import REQUEST_ID

MODELS_S = 30  # that what the servers have is remembered
KEY_S = 5  # that a key is remembered, as long as the front does
KEYS_MAX = 1000
ASK_S = 5
DOWN_S = 1  # that a server which could not be reached is asked last


@dataclass
class Server:
    """One server and what is known of it."""

    address: Address
    connection: AsyncConnection
    under_way: int = 0
    down_until: float = 0

    def order(self) -> tuple[bool, int]:
        """The least goes first."""
        return time.monotonic() < self.down_until, self.under_way


class Tritons:
    """For one event loop. Close it.

    Pages are asked with the caller's key. What the gateway itself wants to know, as which models
    there are, is asked with the key of $COUNTERSIGN_KEY or $COUNTERSIGN_KEY_FILE, if there is one.
    """

    def __init__(self, urls: list[str], ca: Path | None = None) -> None:
        self._servers: list[Server] = []
        self._gateway_key: dict[str, str] = {}
        for url in urls:
            server = address(url)
            if server.tls and ca:
                server = replace(server, tls=Tls(ca))
            headers = dict(server.headers)
            if "authorization" in headers:
                self._gateway_key = {"authorization": headers.pop("authorization")}
            server = replace(server, headers=headers)
            self._servers.append(Server(server, connect_async(server)))
        self._models: list[Model] = []
        self._models_until = 0.0
        self._asking: asyncio.Task[None] | None = None
        self._keys: dict[str, float] = {}  # that were found good, and until when that holds
        self.answered_at = -float("inf")  # when an inference was last answered

    async def close(self) -> None:
        """Calls under way raise Closed."""
        if self._asking is not None:
            self._asking.cancel()
        for server in self._servers:
            await server.connection.close()

    async def infer(
        self,
        model: str,
        image: bytes,
        parameters: Parameters,
        key: str | None = None,
        timeout_s: float = ASK_S,
    ) -> Any:
        """The reply of the server with the fewest pages under way; if that takes none, of the next.

        It is asked with the id of the request that the gateway answers. Raises CountersignError,
        and does not wait to try again.
        """
        request_id = REQUEST_ID.get(None) or uuid4().hex
        asked = Infer(model, image, parameters, request_id)
        reply = await self._send(asked, headers_of(key), timeout_s)
        self.answered_at = time.monotonic()
        return reply

    async def _send(self, request: Any, headers: Mapping[str, str], timeout_s: float) -> Any:
        failure: CountersignError | None = None
        for server in sorted(self._servers, key=Server.order):
            server.under_way += 1
            try:
                return await server.connection.send(request, timeout_s, headers)
            except Unavailable as error:
                failure = error
                if not error.retry_after_s:  # else it is there, and has no room
                    server.down_until = time.monotonic() + DOWN_S
            finally:
                server.under_way -= 1
        assert failure is not None
        raise failure

    async def models(self, key: str | None = None) -> list[Model]:
        """What the first server has. Raises CountersignError if that was never known.

        Remembered for MODELS_S, and then until it is known anew.
        """
        if time.monotonic() >= self._models_until and self._asking is None:
            headers = headers_of(key) or self._gateway_key
            self._asking = asyncio.create_task(self._ask_models(headers))
        if not self._models and self._asking is not None:
            await asyncio.shield(self._asking)
        return self._models

    async def _ask_models(self, headers: Mapping[str, str]) -> None:
        try:
            versions = to_versions(await self._send(Statistics(), headers, ASK_S))
            configs = {name: await self._send(Config(name), headers, ASK_S) for name in versions}
            self._models = to_models(versions, configs)
            self._models_until = time.monotonic() + MODELS_S
        except CountersignError:
            if not self._models:
                raise
        finally:
            self._asking = None

    async def model(self, key: str | None = None, name: str = DETECTOR) -> Model:
        """What is known of one model. Raises CountersignError, as for a model that is not there."""
        for each in await self.models(key):
            if each.name == name:
                return each
        raise Refused(f"model: the servers have no {name}")

    async def check_key(self, key: str) -> None:
        """Raises Denied unless the front takes that key."""
        now = time.monotonic()
        if self._keys.get(key, 0) > now:
            return
        await self._send(Statistics(), headers_of(key), ASK_S)
        if len(self._keys) >= KEYS_MAX:
            self._keys.clear()
        self._keys[key] = now + KEY_S

    async def check_alive(self, image: bytes) -> None:
        """Has a page looked at, with the gateway's own key. Raises CountersignError."""
        await self._send(Infer(DETECTOR, image), self._gateway_key, ASK_S)
        self.answered_at = time.monotonic()


def headers_of(key: str | None) -> dict[str, str]:
    """What shows a key."""
    return {} if key is None else {"authorization": f"Bearer {key}"}
