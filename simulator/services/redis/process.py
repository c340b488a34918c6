"""What the clients of one Redis process share besides the keys: who waits, who watches, who listens."""

from collections.abc import Callable
from typing import Protocol

import trio

from simulator.services.redis.blocking import Wait
from simulator.services.redis.keyspace import Contents, Key, Keyspace
from simulator.services.redis.resp import Push, Reply

__all__ = ["Client", "Process", "Waiter"]


class Client(Protocol):
    """What a process needs of a connection."""

    def tell(self, reply: Reply) -> None:
        """Queue a reply or a push, and see to it that it is sent though the client asked for nothing now."""

    def key_changed(self) -> None:
        """Note that a watched key was changed: the next EXEC does nothing."""


class Waiter:
    """A client in a blocking command, until `deadline_s` on Trio's clock."""

    def __init__(self, client: Client, database: int, protocol: int, wait: Wait) -> None:
        self.client = client
        self.database = database
        self.protocol = protocol
        self.wait = wait
        self.deadline_s = trio.current_time() + wait.timeout_s


class Process:
    """One run of the server in memory. Nothing in it survives a crash but what persistence copies out.

    `before_write` is called before every command that may change a key.
    """

    def __init__(self, contents: Contents, before_write: Callable[[], None]) -> None:
        self.keyspace = Keyspace(contents, self._report)
        self.before_write = before_write
        # Dicts as ordered sets: clients are told in the order in which they came, never in that of addresses.
        self.watchers: dict[Key, dict[Client, None]] = {}
        self.channels: dict[bytes, dict[Client, None]] = {}
        self.patterns: dict[bytes, dict[Client, None]] = {}
        self._waiters: dict[Key, dict[Waiter, None]] = {}
        self._ready: dict[Key, None] = {}
        self._client_id = 0

    def next_client_id(self) -> int:
        """Number a new connection."""
        self._client_id += 1
        return self._client_id

    def _report(self, key: Key, changed: bool) -> None:
        if changed:
            for client in self.watchers.get(key, ()):
                client.key_changed()
        if key in self._waiters:
            self._ready[key] = None

    def begin_waiting(self, waiter: Waiter) -> None:
        """Put a client at the end of the queues of its keys."""
        for key in waiter.wait.keys:
            self._waiters.setdefault((waiter.database, key), {})[waiter] = None

    def end_waiting(self, waiter: Waiter) -> None:
        """Take a client out of all its queues: served, timed out, or gone."""
        for name in waiter.wait.keys:
            key = (waiter.database, name)
            queue = self._waiters.get(key, {})
            queue.pop(waiter, None)
            if not queue:
                self._waiters.pop(key, None)

    def serve_waiters(self) -> None:
        """Serve the clients that wait for the keys just changed; what that changes may serve others in turn."""
        while self._ready:
            key = next(iter(self._ready))
            del self._ready[key]
            for waiter in list(self._waiters.get(key, ())):
                self.keyspace.select_database(waiter.database, protocol=waiter.protocol)
                reply = waiter.wait.serve(key[1])
                if reply is not None:
                    self.end_waiting(waiter)
                    waiter.client.tell(reply)

    def publish(self, channel: bytes, message: bytes, matches: Callable[[bytes, bytes], bool]) -> int:
        """Hand a message to all that listen, in the order in which they subscribed; return to how many."""
        listeners = list(self.channels.get(channel, ()))
        for client in listeners:
            client.tell(Push([b"message", channel, message]))
        count = len(listeners)
        for pattern, clients in self.patterns.items():
            if matches(pattern, channel):
                for client in clients:
                    client.tell(Push([b"pmessage", pattern, channel, message]))
                count += len(clients)
        return count
