"""Admin commands to a Redis: kill its connections, delete its keys."""

from typing import Any

import redis

from simulator.errors import EnvironmentFailedError
from simulator.live.deed import Deed, Means
from simulator.live.target import ByRedis, Target

__all__ = ["Redis"]

ANSWERS_WITHIN_S = 5.0


class Redis(Means):
    """A Redis that takes our commands. Who has its connection killed is reset, as by the network."""

    def __init__(self, described: ByRedis, target: Target) -> None:
        self._described = described
        self._target = target

    def why_not(self, deed: Deed) -> str | None:
        """Connections are those of all clients, so that a link is as good as another."""
        return None if deed.action == "reset" and deed.at[1:] == (self._described.host,) else ""

    def do(self, deed: Deed) -> None:
        """Kill every connection but ours."""
        self._command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self._command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")

    def probe(self) -> str:
        """Ask for its name and release."""
        return f"a Redis {self._command('INFO', 'server')['redis_version']}"

    def reset(self) -> None:
        """Delete every key, where that was asked for."""
        if self._described.flush:
            self._command("FLUSHALL")

    def _command(self, *words: str) -> Any:
        described, host = self._described, self._target.hosts[self._described.host]
        name, port = self._target.address(described.host)
        options: dict[str, Any] = {"username": described.user or None}
        if described.password is not None:
            options["password"] = described.password.read()
        if host.tls is not None:
            options |= {"ssl": True, "ssl_ca_certs": host.tls.ca and str(host.tls.ca)}
        client: Any = redis.Redis(host=name, port=port, socket_timeout=ANSWERS_WITHIN_S, **options)
        try:
            return client.execute_command(*words)
        except (redis.RedisError, OSError) as error:
            raise EnvironmentFailedError(f"redis at {described.host} did not do {' '.join(words)}: {error}") from error
        finally:
            client.close()
