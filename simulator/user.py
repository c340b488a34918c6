"""Users: who acts on a system, on a host of their own, and what each is called."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from simulator.history import Value

__all__ = ["USER", "Observer", "User", "user_host", "user_name"]

USER = "user"
"""All users, in a topology."""

USER_NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")


def user_name(number: int) -> str:
    """Return the name of a plan's user."""
    return USER_NAMES[number] if number < len(USER_NAMES) else f"user{number}"


def user_host(number: int) -> str:
    """Return the name of the host that a plan's user is on."""
    return f"{USER}:{user_name(number)}"


class Observer:
    """Records what is seen on one host: `observer.observe("frame", to="alice", text="hi")`."""

    def __init__(
        self, record: Callable[[str, Mapping[str, Value]], None], reaches: Callable[[str], bool] = lambda _host: True
    ) -> None:
        self._record = record
        self._reaches = reaches

    def observe(self, name: str, /, **data: Value) -> None:
        """Add an observation to the history, at this moment."""
        self._record(name, data)

    def reaches(self, host: str) -> bool:
        """Say whether a host may be looked into: in simulation each, live those of which the target has an address."""
        return self._reaches(host)


class User(Observer):
    """One user of a run, on a host of their own, with whatever the system's operations keep in `memory`."""

    def __init__(
        self,
        number: int,
        name: str,
        record: Callable[[str, Mapping[str, Value]], None],
        start: Callable[[Callable[[], Awaitable[object]]], None],
    ) -> None:
        super().__init__(record)
        self.number = number
        self.name = name
        self.memory: dict[str, Any] = {}
        self._start = start

    def start_soon(self, task: Callable[[], Awaitable[object]]) -> None:
        """Run an async function on the user's host beside the operations, until the run ends: a reader, say."""
        self._start(task)

    def __repr__(self) -> str:
        return f"<user {self.name}>"
