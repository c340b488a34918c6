"""Follows a deployment without driving it: its hosts' logs and metrics as they come, and its stores when asked."""

import time
from collections.abc import Callable, Mapping

import trio
import trio.socket

from simulator.errors import EnvironmentFailedError, InputError
from simulator.history import Event, Kind, Value
from simulator.live.logs import opened_log
from simulator.live.metrics import read_metrics
from simulator.live.names import LiveNames
from simulator.live.target import Target
from simulator.run import OBSERVER
from simulator.system import System
from simulator.user import Observer
from simulator.world.host import describe

__all__ = ["Follower"]

LOG_POLL_S = 0.1
METRICS_EVERY_S = 5.0


class Follower:
    """Gives each thing that is observed to `sink`, with the seconds since this was made; warns of what is not seen.

    Everything that is connected to is named by the target: have it checked before. Raises InputError for a target of
    which nothing can be followed, and EnvironmentFailedError for a log that is not there.
    """

    def __init__(
        self, system: System, target: Target, sink: Callable[[Event], None], warn: Callable[[str], None]
    ) -> None:
        self._system = system.for_run()
        self._target = target
        self._sink = sink
        self._warn = warn
        self._begun_at_s = time.time()
        logged = {name: host for name, host in target.hosts.items() if host.log is not None or host.log_command}
        self._metrics = {name: host.metrics for name, host in target.hosts.items() if host.metrics}
        if not logged and not self._metrics:
            raise InputError(
                "the target has neither log, log_command nor metrics of any host under [hosts], so that nothing can be "
                "observed. Name at least one."
            )
        self._logs = {name: opened_log(host) for name, host in logged.items()}
        self.what = ", ".join(
            [*(f"log of {name}" for name in logged), *(f"metrics of {name}" for name in self._metrics)]
        )
        """What is followed."""

    @property
    def now_s(self) -> float:
        """How long it has been followed."""
        return time.time() - self._begun_at_s

    async def follow(self) -> None:
        """Follow everything, until cancelled."""
        async with trio.open_nursery() as nursery:
            for name, url in self._metrics.items():
                nursery.start_soon(self._follow_metrics, name, url)
            silent: dict[str, None] = {}
            while True:
                self.read_logs()
                for name, log in self._logs.items():
                    if log.has_ended and name not in silent:
                        silent[name] = None
                        self._warn(f"the log_command of {name} has ended: nothing is seen of its log any more")
                await trio.sleep(LOG_POLL_S)

    @property
    def errors(self) -> list[str]:
        """What logs told of errors so far, host by host."""
        return [f"{host}: {error}" for host, log in self._logs.items() for error in log.errors]

    def read_logs(self) -> None:
        """Take what the hosts have logged up to now, in the order in which they did; no clock is ahead of ours."""
        entries = [(host, entry) for host, log in self._logs.items() for entry in log.read()]
        for host, entry in sorted(entries, key=lambda each: each[1].logged_at_s):
            self._observe(host, entry.name, entry.fields, min(self.now_s, entry.logged_at_s - self._begun_at_s))

    async def inspect(self) -> None:
        """Take what the stores hold, by the system's own `inspect`. Raises EnvironmentFailedError.

        Names are the system's from then on, in this Trio run.
        """
        observer = Observer(lambda name, data: self._observe(OBSERVER, name, data, self.now_s), self._target.reaches)
        try:
            async with trio.open_nursery() as nursery:
                names = LiveNames(self._target, list(self._system.hosts()), (), nursery)
                trio.socket.set_custom_hostname_resolver(names)
                with trio.fail_after(self._system.patience_s()):
                    await self._system.inspect(observer)
                nursery.cancel_scope.cancel()
        except Exception as error:
            raise EnvironmentFailedError(f"the target's stores could not be inspected: {describe(error)}") from error

    def close(self) -> None:
        """Follow no logs any more."""
        for log in self._logs.values():
            log.close()

    async def _follow_metrics(self, host: str, url: str) -> None:
        is_there = True
        while True:
            try:
                self._observe(host, "metrics", {**await read_metrics(url)}, self.now_s)
                is_there = True
            except EnvironmentFailedError as error:
                if is_there:
                    self._warn(f"the metrics of {host} are not seen: {error}")
                is_there = False
            await trio.sleep(METRICS_EVERY_S)

    def _observe(self, host: str, name: str, data: Mapping[str, Value], at_s: float) -> None:
        self._sink(Event(0, max(0.0, at_s), Kind.OBSERVE, host, name, data))
