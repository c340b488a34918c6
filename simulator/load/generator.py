"""A generator of load: a process that is some of the users of a load, and tells what they do and see as it happens."""

import enum
import os
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from traceback import format_exception
from typing import Any

import attrs
import trio

from simulator.errors import WavetankError
from simulator.history import Event, History, Kind, Value
from simulator.live.target import Target
from simulator.live.users import LiveUsers
from simulator.load.pace import Paced, take_steps
from simulator.load.share import Share
from simulator.pending import Pending
from simulator.plan import Plan
from simulator.redaction import known_secrets, redacted, redacted_value
from simulator.system import System

__all__ = ["Begin", "Order", "Told", "generate"]

TELLS_EVERY_S = 0.02


@attrs.frozen
class Begin:
    """An order: the run began at `run_began_s` of this machine's performance counter, the load is due at `begins_s`."""

    run_began_s: float
    begins_s: float


class Order(enum.Enum):
    """What else a generator is told to do."""

    STOP = "stop"  # take no more steps
    SETTLE = "settle"  # tell all clients to come to rest


@attrs.frozen(kw_only=True)
class Told:
    """What has happened since it was told the last time, up to `until_s`.

    `begun` is what is not finished, `ended` what is not any more. `settled` says how often clients were told to come
    to rest. `paced` comes once, after the last step.
    """

    until_s: float
    events: list[Event]
    begun: dict[int, Pending]
    ended: list[int]
    settled: int
    secrets: list[str]
    paced: Paced | None


class ToldHistory(History):
    """What was recorded since it was told the last time: whoever is told keeps the whole."""

    def record(
        self, kind: Kind, host: str, name: str, data: Mapping[str, Value] | None = None, operation: int | None = None
    ) -> Event:
        """Append one event, without the secrets that are known."""
        kept = {redacted(key): redacted_value(value) for key, value in (data or {}).items()}
        event = self.event(kind, host, name, kept, operation)
        self.events.append(event)
        return event

    def tell(self) -> list[Event]:
        """Return what was not told yet."""
        told, self.events = self.events, []
        return told


class Generator:
    """The part of a load that is done in this process."""

    def __init__(self, begin: Begin, system: System, plan: Plan, target: Target, share: Share, nursery: trio.Nursery):
        self._history = ToldHistory(lambda: time.perf_counter() - begin.run_began_s)
        place = os.getppid() + 1 + share.number
        self._run = LiveUsers(system, plan.setting, self._history, target, share.users(plan), nursery, place)
        self._plan = share.plan(plan)
        self._begins_s = begin.begins_s
        self._is_over = False
        self._settled = 0
        self._paced: Paced | None = None
        self._unfinished: dict[int, Pending] = {}  # as it was told
        self._secrets: list[str] = []

    async def take_steps(self) -> None:
        """Take the steps of the share, each when it is due."""
        self._paced = await take_steps(self._run, self._plan, self._begins_s, lambda: self._is_over)

    def obey(self, order: Order) -> None:
        """Do what was ordered."""
        match order:
            case Order.STOP:
                self._is_over = True
            case Order.SETTLE:
                self._settled += 1
                self._run.settle_users()

    async def tell(self, send: Callable[[Told], None]) -> None:
        """Tell again and again what has happened."""
        while True:
            await trio.to_thread.run_sync(send, self._told())
            await trio.sleep(TELLS_EVERY_S)

    def _told(self) -> Told:
        unfinished, secrets = self._run.unfinished(), known_secrets()
        told = Told(
            until_s=self._history.now_s,
            events=self._history.tell(),
            begun={number: each for number, each in unfinished.items() if number not in self._unfinished},
            ended=[number for number in self._unfinished if number not in unfinished],
            settled=self._settled,
            secrets=secrets[len(self._secrets) :],
            paced=self._paced,
        )
        self._unfinished, self._secrets, self._paced = unfinished, secrets, None
        return told


def generate(connection: Connection, system: System, plan: Plan, target: Target, share: Share) -> None:
    """Be a generator, by what comes over a connection, until this process is killed. What it raises is told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever began us is interrupted, and says what to do
    try:
        trio.run(_generate, connection, system, plan, target, share)
    except BaseException as error:
        if not isinstance(error, WavetankError):
            error.add_note("".join(format_exception(error)))  # which does not travel
        connection.send(error)


async def _generate(connection: Connection, system: System, plan: Plan, target: Target, share: Share) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_with_parent)
        generator = Generator(await _received(connection), system, plan, target, share, nursery)
        nursery.start_soon(generator.take_steps)
        nursery.start_soon(generator.tell, connection.send)
        while True:
            generator.obey(await _received(connection))


async def _received(connection: Connection) -> Any:
    await trio.lowlevel.wait_readable(connection.fileno())
    return connection.recv()


async def _end_with_parent() -> None:
    """End this process when the one that began it was killed: nobody else would."""
    parent = parent_process()
    assert parent is not None
    await trio.lowlevel.wait_readable(parent.sentinel)
    os._exit(1)
