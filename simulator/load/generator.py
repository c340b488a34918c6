"""A generator of load: a process that is some of the users of a load, and tells what they do and see as it happens."""

import enum
import os
import pickle
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from traceback import format_exception
from typing import Any

import attrs
import trio

from simulator.errors import WavetankError
from simulator.history import Event, History, Kind, Unseen, Value, encoded
from simulator.live.acting import ActingRun
from simulator.live.target import Target
from simulator.load.pace import Paced, take_steps
from simulator.load.share import Share
from simulator.pending import Pending
from simulator.plan import Plan
from simulator.redaction import known_secrets, redacted, redacted_value
from simulator.system import System
from simulator.workers import end_with_parent

__all__ = ["Begin", "Failed", "Order", "Told", "generate"]

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
    END = "end"  # let go of everything, and end


@attrs.frozen(kw_only=True)
class Told:
    """What has happened since it was told the last time, up to `until_s`. The first one says only that it is ready.

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


@attrs.frozen
class Failed:
    """What a generator raised, with all that is secret of what it says."""

    error: BaseException
    secrets: list[str]


class ToldHistory(History):
    """What was recorded since it was told the last time: whoever is told keeps the whole."""

    def record(
        self, kind: Kind, host: str, name: str, data: Mapping[str, Value] | None = None, operation: int | None = None
    ) -> Event:
        """Append one event, without the secrets that are known. Raises InputError for data that JSON cannot hold."""
        kept = {redacted(key): redacted_value(value) for key, value in (data or {}).items()}
        event = self.event(kind, host, name, kept, operation)
        encoded(event, Unseen())  # here, where it is known who recorded it
        self.events.append(event)
        return event

    def tell(self) -> list[Event]:
        """Return what was not told yet."""
        told, self.events = self.events, []
        return told


class Generator:
    """The part of a load that is done in this process: a plan of its own, of the users of a share."""

    def __init__(self, system: System, plan: Plan, target: Target, share: Share, nursery: trio.Nursery) -> None:
        self._run_began_s = time.perf_counter()
        self._history = ToldHistory(lambda: time.perf_counter() - self._run_began_s)
        part = os.getppid() + 1 + share.number
        acting = share.users(plan.setting)
        self._run = ActingRun(system, plan.setting, self._history, target, acting, nursery, part)
        self._plan = plan
        self._nursery = nursery
        self._is_over = False
        self._settled = 0
        self._paced: Paced | None = None
        self._unfinished: dict[int, Pending] = {}  # as it was told
        self._secrets_told = 0

    def begin(self, begin: Begin) -> None:
        """Take the steps of the plan from now on, each when it is due."""
        self._run_began_s = begin.run_began_s
        self._nursery.start_soon(self._take_steps, begin.begins_s)

    async def _take_steps(self, begins_s: float) -> None:
        self._paced = await take_steps(self._run, self._plan, begins_s, lambda: self._is_over)

    def stop(self) -> None:
        """Take no more steps."""
        self._is_over = True

    def settle(self) -> None:
        """Tell all clients to come to rest."""
        self._settled += 1
        self._run.settle_users()

    async def tell(self, send: Callable[[Told], None]) -> None:
        """Tell again and again what has happened."""
        while True:
            await trio.to_thread.run_sync(send, self.told())
            await trio.sleep(TELLS_EVERY_S)

    def told(self) -> Told:
        """Return what was not told yet."""
        unfinished, secrets = self._run.unfinished(), known_secrets()
        told = Told(
            until_s=self._history.now_s,
            events=self._history.tell(),
            begun={number: each for number, each in unfinished.items() if number not in self._unfinished},
            ended=[number for number in self._unfinished if number not in unfinished],
            settled=self._settled,
            secrets=secrets[self._secrets_told :],
            paced=self._paced,
        )
        self._unfinished, self._secrets_told, self._paced = unfinished, len(secrets), None
        return told


def generate(connection: Connection, system: System, plan: Plan, target: Target, share: Share) -> None:
    """Be a generator, by what comes over a connection, until the order to end. What it raises is told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever began us is interrupted, and says what to do
    end_with_parent()
    try:
        trio.run(_generate, connection, system, plan, target, share)
    except BaseException as error:
        with suppress(OSError):  # nobody listens any more
            connection.send(Failed(_portable(error), known_secrets()))


async def _generate(connection: Connection, system: System, plan: Plan, target: Target, share: Share) -> None:
    async with trio.open_nursery() as nursery:
        generator = Generator(system, plan, target, share, nursery)
        connection.send(generator.told())
        generator.begin(await _received(connection))
        nursery.start_soon(generator.tell, connection.send)
        while True:
            match await _received(connection):
                case Order.STOP:
                    generator.stop()
                case Order.SETTLE:
                    generator.settle()
                case Order.END:
                    nursery.cancel_scope.cancel()
                    return


async def _received(connection: Connection) -> Any:
    await trio.lowlevel.wait_readable(connection.fileno())
    return connection.recv()


def _portable(error: BaseException) -> BaseException:
    """Return an exception as it can be sent to another process, with where it was raised unless a user is told that."""
    where = redacted("".join(format_exception(error)))
    if not isinstance(error, WavetankError):
        error.add_note(where)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its parts raise
        return RuntimeError(where)
    return error
