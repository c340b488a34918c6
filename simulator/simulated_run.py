"""The simulated run: steps applied to a system in a world of its own, which stands still between two steps."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Self

import msgspec
import structlog

from simulator.errors import InputError
from simulator.history import History, Kind, Value
from simulator.plan import Plan, Setting, Step
from simulator.property import Property
from simulator.run import OBSERVER, Result, Run, is_from_outside, judge
from simulator.system import System
from simulator.user import Observer
from simulator.world import World, current_host
from simulator.world.host import describe
from simulator.world.recorder import Recorder

__all__ = ["SimulatedRun", "simulate", "spelled_out"]

QUIET_POLL_MIN_S = 0.25
QUIET_POLL_MAX_S = 2.0


class SimulatedRun(Run):
    """A run in virtual time. Use as a context manager: `apply` steps, then `finish` once."""

    def __init__(self, system: System, setting: Setting) -> None:
        self._structlog = structlog.get_config()
        self.world = self.nemesis = World(seed=setting.seed, latency_between_s=setting.latency_between_s)
        try:
            # What a host logs with structlog is an observation.
            structlog.configure(
                processors=[self._observe_log], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False
            )
            super().__init__(system, setting, History(lambda: self.world.now_s, self.world.unseen))
            self._open(setting)
        except BaseException:
            self.close()
            raise

    def _open(self, setting: Setting) -> None:
        self.world.on_failure = self.host_failed
        for host in self.hosts:
            self.world.add_host(
                host.name,
                partial(_as_process, host.main),
                host.on_crash,
                on_terminate=host.on_terminate,
                troubles=host.troubles,
                behind=host.behind,
            )
        for number in range(setting.users):
            self.world.add_host(f"user:{self.add_user(number).name}")
        self.world.add_host(OBSERVER)
        self.history.record(Kind.MARK, "", "start", {"users": setting.users, "latency_s": setting.longest_latency_s})
        self.limit(self.system.service_models)
        self.world.advance(setting.latency_s)

    def start_task(self, host: str, task: Callable[[], Awaitable[None]]) -> None:
        """Start an async function on a host of the world."""
        self.world.start(task, host=host, name="task")

    def call_after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call `action` once, in simulated time."""
        self.world.clock.call_after(delay_s, action)

    def knows_host(self, name: str) -> bool:
        """Say whether the world has this host."""
        return name in self.world.hosts

    def apply(self, step: Step) -> None:
        """Do what the step says, and let its time pass. A step that does not make sense now is left out."""
        if self.applicable(step):
            self.world.weather.change(step.weather, step.deviations)
            self.begin(step)
            self.world.advance(step.after_s)

    def finish(self, properties: Iterable[Property]) -> Result:
        """Heal the core, then everything, let the system come to rest each time, look into its stores, and judge."""
        self.world.weather.change(0)
        if self.heal_core():
            self._wait_quiet()
            self.record_excused()
        self.heal()
        self._wait_quiet()
        self.history.record(Kind.MARK, "", "quiet")
        self._count_holdings()
        observer = Observer(lambda name, data: self.observe(OBSERVER, name, data))
        self.world.run(lambda: self._inspect(observer), host=OBSERVER, timeout_s=self.system.patience_s())
        self.history.record(Kind.MARK, "", "end")
        self.history.links = self.world.network.traffic
        return Result(self.history, judge(properties, self.history), self.world.now_s)

    def close(self) -> None:
        """End the world; safe to call twice."""
        try:
            self.world.close()
        finally:
            structlog.configure(**self._structlog)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _wait_quiet(self) -> None:
        healed_s, poll_s = self.world.now_s, QUIET_POLL_MIN_S
        while pending := self.pending():
            waited_s = self.world.now_s - healed_s
            if waited_s >= self.system.patience_s():
                self.record_pending(pending, waited_s)
                return
            self.world.advance(poll_s)
            poll_s = min(2 * poll_s, QUIET_POLL_MAX_S)

    def _count_holdings(self) -> None:
        """Record how many tasks and open sockets the program of each host has that is up."""
        for host in self.hosts:
            if self.world.hosts[host.name].up:
                sockets: dict[str, Value] = {**self.world.sockets_of(host.name)}
                self.observe(host.name, "holdings", {"tasks": self.world.tasks_of(host.name), "sockets": sockets})

    async def _inspect(self, observer: Observer) -> None:
        """Everything is healed and quiet: a store that cannot be looked into now is a finding, not a mishap of ours."""
        try:
            await self.system.inspect(observer)
        except Exception as error:
            self.observe(OBSERVER, "uncaught", {"what": "inspect", "error": describe(error)})

    def _observe_log(self, _logger: Any, _method: str, fields: Any) -> Any:
        """Record what a host logs. One that crashed says nothing any more."""
        incarnation = current_host()
        if incarnation.alive:
            name = fields.pop("event")
            try:
                self.observe(incarnation.host.name, name, fields)
            except InputError:  # programs log objects; a log processor words them, and so do we
                self.observe(incarnation.host.name, name, msgspec.to_builtins(fields, enc_hook=_worded))
        raise structlog.DropEvent


async def _as_process(main: Callable[[], Awaitable[object]]) -> None:
    """Run a host's main so that `sys.exit` ends its host, not the world."""
    try:
        await main()
    except BaseException as error:
        if isinstance(error, Exception) or is_from_outside(error):
            raise
        raise RuntimeError(f"the program ended itself: {type(error).__name__}: {error}") from error


def _worded(value: object) -> str:
    """Word a logged object. Never by its default `repr`, which holds an address."""
    return describe(value) if isinstance(value, BaseException) else f"<{type(value).__name__}>"


def simulate(system: System, plan: Plan, properties: Iterable[Property]) -> Result:
    """Replay a plan in a fresh world and judge it. Needs nothing but the plan: no Hypothesis, no files.

    Raises InputError for a plan that was made for other operations.
    """
    system.check_plan(plan)
    with SimulatedRun(system, plan.setting) as run:
        for step in plan.steps:
            run.apply(step)
        return run.finish(properties)


def spelled_out(system: System, plan: Plan) -> Plan:
    """Return the plan with every storm as the explicit deviations that it amounts to. It makes the same run."""
    recorder = Recorder()
    with SimulatedRun(system, plan.setting) as run:
        run.world.weather.recorder = recorder
        for step in plan.steps:
            run.apply(step)
        recorded = recorder.steps[1:]  # the first is what comes before any step
    steps = (
        msgspec.structs.replace(step, weather=0, deviations=tuple(made)) if step.weather else step
        for step, made in zip(run.steps, recorded, strict=True)
    )
    return Plan(plan.setting, tuple(steps))
