"""ClickHouse over HTTP, in time and behind a breaker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn, Self

import httpx
import trio

from models.breaker import Breaker, BreakerOpenError
from models.config import PlatformConfig

__all__ = ["ClickHouse", "ClickHouseRefusedError", "ClickHouseUnavailableError"]


class ClickHouseUnavailableError(Exception):
    """ClickHouse failed, or did not answer in time. Whether an insert took place is then unknown."""


class ClickHouseRefusedError(Exception):
    """ClickHouse says that the statement is wrong: our mistake, and no failure of the service."""


class ClickHouse:
    """A client for statements, each on its own."""

    def __init__(self, http: httpx.AsyncClient, breaker: Breaker, config: PlatformConfig) -> None:
        self.breaker = breaker
        self._http = http
        self._config = config

    @classmethod
    @asynccontextmanager
    async def opened(cls, breaker: Breaker, config: PlatformConfig) -> AsyncIterator[Self]:
        """Provide a client. ClickHouse need not be there yet."""
        # No proxies from the environment; no expiry by the process's own clock, which is not the platform's:
        # the client notices by itself when the server has closed an idle connection. Certificates are loaded
        # for HTTPS only.
        http = httpx.AsyncClient(
            base_url=config.clickhouse_url,
            timeout=None,
            trust_env=False,
            verify=config.clickhouse_url.startswith("https:"),
            limits=httpx.Limits(keepalive_expiry=None),
        )
        async with http:
            yield cls(http, breaker, config)

    async def query(self, *statements: tuple[str, bytes]) -> str:
        """Execute statements, each with its data, and return the text of the last one's result.

        All of them are one call to the breaker. Raises ClickHouseUnavailableError and ClickHouseRefusedError.
        """

        async def execute() -> str:
            text = ""
            for statement, data in statements:
                text = await self._post(statement, data)
            return text

        try:
            return await self.breaker.call(execute, counts=_is_failure)
        except BreakerOpenError as error:
            raise ClickHouseUnavailableError("the breaker is open") from error

    async def probe_forever(self) -> NoReturn:
        """Ask ClickHouse for nothing whenever the breaker is not closed, until cancelled."""
        await self.breaker.probe_forever(lambda: self.query(("SELECT 1", b"")))

    async def _post(self, statement: str, data: bytes) -> str:
        try:
            with trio.fail_after(self._config.clickhouse_timeout_s):
                response = await self._http.post("/", params={"query": statement}, content=data)
        except Exception as error:
            # Whatever the client library raises, to the breaker it is one fact.
            raise ClickHouseUnavailableError(f"{type(error).__name__}: {error}") from error
        if response.is_server_error and response.status_code != httpx.codes.NOT_IMPLEMENTED:
            raise ClickHouseUnavailableError(f"{response.status_code}: {response.text[:200]}")
        if response.is_error:
            raise ClickHouseRefusedError(f"{response.status_code}: {response.text[:200]}")
        return response.text


def _is_failure(error: Exception) -> bool:
    return isinstance(error, ClickHouseUnavailableError)
