"""The troubles that a staging's services get into on demand, and out of again."""

import contextlib
import http.client
import json

import trio

from simulator.errors import EnvironmentFailedError
from simulator.services.llm import TROUBLES
from wavetank.stores import refuse_platform

__all__ = ["STAGED", "ServiceTroubles"]

STAGED = {"postgres": ("postgres-refusing",), "llm": tuple(TROUBLES)}
"""Which troubles each host's real service can be brought into."""

ANSWERS_WITHIN_S = 0.5  # whoever orders a trouble waits for it, and a frozen service does not answer


class ServiceTroubles:
    """What is to be the matter with which service, also while that is down or frozen, when it cannot be told.

    The other troubles of the simulated services are none that a real one can be brought into.
    """

    def __init__(self, *, postgres_port: int, llm_port: int | None) -> None:
        self._postgres_port = postgres_port
        self._llm_port = llm_port
        self._wanted: dict[tuple[str, str], bool] = {}  # of every trouble that was ever asked for

    async def switch(self, host: str, name: str, *, on: bool) -> None:
        """Begin or end a trouble, or see to it that `tell` will. Raises KeyError for one that there is not."""
        if name not in STAGED[host]:
            raise KeyError(name)
        self._wanted[host, name] = on
        with contextlib.suppress(EnvironmentFailedError):
            await self._tell(host, name, on=on)

    async def tell(self, host: str) -> None:
        """Tell a service that is up (again) what is to be the matter with it.

        Raises EnvironmentFailedError when it does not do so.
        """
        for (struck, name), on in list(self._wanted.items()):
            if struck == host:
                await self._tell(host, name, on=on)

    async def end_all(self) -> None:
        """End every trouble. All services are up. Raises what `tell` does."""
        self._wanted = dict.fromkeys(self._wanted, False)
        for host in STAGED:
            await self.tell(host)

    async def _tell(self, host: str, name: str, *, on: bool) -> None:
        if host == "postgres":
            await refuse_platform(self._postgres_port, on=on, within_s=ANSWERS_WITHIN_S)
        else:
            await trio.to_thread.run_sync(self._tell_llm, name, on)

    def _tell_llm(self, name: str, on: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._llm_port, timeout=ANSWERS_WITHIN_S)
        try:
            connection.request("POST", "/_trouble", json.dumps({"name": name, "on": on}))
            response = connection.getresponse()
            answer = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise EnvironmentFailedError(f"the LLM did not take trouble={name}: {error!r}") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise EnvironmentFailedError(f"the LLM refused trouble={name}: {answer}")
