"""A real redis-server as a child process: every acknowledged write survives its crash."""

import socket
from collections.abc import Sequence

from simulator.live.process import ServerProcess

__all__ = ["RedisServer"]

ANSWER_WITHIN_S = 1.0


class RedisServer(ServerProcess):
    """One redis-server on 127.0.0.1 that appends each write to disk before it answers (`appendfsync always`)."""

    name = "redis"

    @property
    def url(self) -> str:
        """The address as Redis clients take it."""
        return f"redis://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """Return the command line; all options are here, so that no configuration of the machine has a say."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.directory),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "daemonize": "no",
        }
        return ["redis-server", *(word for name, value in options.items() for word in (f"--{name}", value))]

    def is_ready(self) -> bool:
        """Say whether the server answers PONG to PING; while it loads its data it answers an error."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_WITHIN_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64) == b"+PONG\r\n"
