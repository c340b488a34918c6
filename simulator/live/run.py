"""The live run: the same steps, the same client code and the same properties, in real time on real services.

Steps are anchored to what the users saw, not to the clock: a step waits until every completion and observation that
preceded it in simulation has happened for real (or a bound has passed), and then as long as the plan says. What is
not repeated: weather, that is the order of tasks and the jitter of single messages.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import attrs
import trio

from simulator.deviation import Hold
from simulator.errors import EnvironmentFailedError
from simulator.history import Event, Kind, Value
from simulator.live.acting import ActingRun
from simulator.live.anchors import Anchors, Seen, WatchedHistory
from simulator.live.deployment import Deployment
from simulator.live.logs import opened_log
from simulator.live.nemesis import LiveNemesis
from simulator.live.target import Target, described
from simulator.live.undo import UndoJournal
from simulator.plan import Plan, Step, Strike
from simulator.property import Property
from simulator.run import OBSERVER, Result, judge
from simulator.system import System
from simulator.user import Observer
from simulator.world.host import describe

__all__ = ["Drive", "LiveResult", "LiveRun", "MakesRun", "Stray", "run_live"]

QUIET_POLL_S = 0.1
QUIET_POLLS = 3  # in a row without anything pending: a host may log a moment after a user has seen what it did
LOG_POLL_S = 0.02
ANCHOR_WAIT_MAX_S = 10.0
EFFECT_WAIT_MAX_S = 1.0
FAULT_SLACK_S = 0.2
"""A fault is as long as its failure needs in simulation, not longer; and what it strikes is later here."""


@attrs.frozen
class Stray:
    """In what a live run went otherwise than the simulation: before which step, counted from 1, and what.

    `events` is how many there were in its history by then.
    """

    step: int
    what: str
    events: int


@attrs.frozen(eq=False)
class LiveResult(Result):
    """The result of a live run, and in what it went otherwise than the simulation."""

    strays: tuple[Stray, ...]


class LiveRun(ActingRun):
    """A run on a deployment, inside a Trio run of its own. Made and driven by `run_live`.

    `acting` are the numbers of the users who act from this process: all, unless others act from elsewhere.
    """

    history: WatchedHistory
    nemesis: LiveNemesis

    def __init__(
        self,
        system: System,
        plan: Plan,
        deployment: Deployment,
        nursery: trio.Nursery,
        acting: Collection[int] | None = None,
    ) -> None:
        target = deployment.target
        acting = range(plan.setting.users) if acting is None else acting
        super().__init__(system, plan.setting, WatchedHistory(), target, acting, nursery)
        self.nemesis = LiveNemesis(deployment.do, self.names.user_proxies, plan.setting.latency_between_s, nursery)
        self.strays: list[Stray] = []
        self._observer = Observer(lambda name, data: self.observe(OBSERVER, name, data), target.reaches)
        self._deployment = deployment
        self._during: Seen = Counter()  # the effect of the step that begins
        self._effects: list[Seen] = []
        self._scale = target.scale_of(system.patience)
        limit_s = target.limits.fault_s if target.limits is not None else None
        self._fault_s_max = math.inf if limit_s is None else limit_s
        self._logs = {
            name: opened_log(host) for name, host in target.hosts.items() if host.log is not None or host.log_command
        }
        start: dict[str, Value] = {
            "users": plan.setting.users,
            "latency_s": plan.setting.longest_latency_s,
            # What promises must know, or they would take silence for news.
            "unlogged": [each.name for each in self.hosts if not {each.name, each.behind} & self._logs.keys()],
            "untold": [*sorted(system.untold)],
        }
        self.history.record(Kind.MARK, "", "start", start)

    def processes(self) -> dict[str, int]:
        """Return the process ids of the hosts, as far as they run here and the target's means know them."""
        return self._deployment.processes()

    def call_after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Call `action`, which ends a fault, once: in real time, and not before it has had its effect."""
        effect = self.history.further(self._during)
        self._effects.append(effect)

        async def later() -> None:
            lasts_s = delay_s * self._scale
            await trio.sleep(min(lasts_s + FAULT_SLACK_S, max(lasts_s, self._fault_s_max)))
            with trio.move_on_after(max(0.0, self._fault_s_max - lasts_s - FAULT_SLACK_S)):
                await self._wait_effects([effect])
            self.read_logs()  # what a host logged before its fault ends is recorded before that, as by `begin`
            action()

        self._nursery.start_soon(later)

    def observe(self, host: str, name: str, data: Mapping[str, Value]) -> None:
        """Record an observation. What a user sees comes after what the hosts logged when they did it."""
        if host.startswith("user:"):
            self.read_logs()
        super().observe(host, name, data)

    def knows_host(self, name: str) -> bool:
        """Whether a fault can name it was settled before anything was touched."""
        return True

    def begin(self, step: Step) -> None:
        """Begin what the step says. What a host logged before it crashes is recorded before the crash."""
        if isinstance(step.action, Strike):
            fault = step.action.fault
            if fault.kind == "crash" and fault.at[0] in self._logs:
                self._deployment.hold_still(fault.at[0])
            self.read_logs()
        for deviation in step.deviations:
            if isinstance(deviation, Hold):
                place = deviation.source, deviation.destination
                self.nemesis.hold_message(*place, deviation.nth, deviation.for_s * self._scale)
        super().begin(step)

    def slow_links(self) -> None:
        """Let every link take as long as in simulation."""
        self.nemesis.slow_all(self._deployment.links())

    async def play(self, plan: Plan, anchors: Anchors) -> None:
        """Take every step that was taken in simulation, each after what preceded it there."""
        given_up: Seen = Counter()
        held = zip(plan.steps, anchors.before, anchors.told, anchors.during, strict=True)
        for number, (step, anchor, told, self._during) in enumerate(held, 1):
            if anchor is None:
                continue
            with trio.move_on_after(ANCHOR_WAIT_MAX_S * self._scale) as waiting:
                await self.history.wait_seen(anchor - given_up)
            if waiting.cancelled_caught:
                missing = self.history.missing(anchor - given_up)
                given_up += missing
                what = ", ".join(f"{name} of {host.removeprefix('user:')}" for host, name in sorted(missing))
                self._stray(number, f"before step {number} did not happen: {what}")
            # What hosts tell comes late, and not always as often: of that a little is waited for, once.
            given_up += await self._wait_told(told - given_up)
            if self.applicable(step):
                self.begin(step)
                await trio.sleep(step.after_s * self._scale)
            else:
                self._stray(number, f"step {number} made no sense")
        if self._open_faults:  # which end with the plan, as in `call_after`
            await trio.sleep(FAULT_SLACK_S)
        await self._wait_effects(self._effects)
        self._tell_of_messages(plan)

    async def revive(self) -> None:
        """Wait until all hosts are back, but for those that are left broken."""
        broken = [fault.at[0] for fault in self._left.values() if len(fault.at) == 1]
        await trio.to_thread.run_sync(self._deployment.revive, broken)

    async def wait_quiet(self) -> None:
        """Wait until nothing is pending, or the system's time for it is up."""
        begun_s = trio.current_time()
        calm_polls = 0
        while calm_polls < QUIET_POLLS:
            self.read_logs()
            pending = self.pending()
            calm_polls = 0 if pending else calm_polls + 1
            waited_s = trio.current_time() - begun_s
            if pending and waited_s >= self.system.patience_s():
                self.record_pending(pending, waited_s)
                break
            await trio.sleep(QUIET_POLL_S)

    async def inspect(self) -> None:
        """Record what the stores hold. Raises EnvironmentFailedError when they cannot be read."""
        try:
            with trio.fail_after(self.system.patience_s()):
                await self.system.inspect(self._observer)
        except Exception as error:
            raise EnvironmentFailedError(f"the target's stores could not be inspected: {describe(error)}") from error

    async def follow_logs(self) -> None:
        """Keep recording what the hosts log."""
        while True:
            self.read_logs()
            await trio.sleep(LOG_POLL_S)

    def read_logs(self) -> None:
        """Record what the hosts have logged up to now as their observations, in the order in which they did."""
        for event in sorted(self.logged(), key=lambda each: each.at_s):
            self.history.record_at(event)

    def logged(self) -> Iterator[Event]:
        """Yield what the hosts have logged since the last time, each when that was by their own clocks."""
        for host, log in self._logs.items():
            for entry in log.read():
                at_s = self.history.since_epoch(entry.logged_at_s)
                yield Event(0, at_s, Kind.OBSERVE, host, entry.name, entry.fields)

    def close(self) -> None:
        """Read no logs any more."""
        for log in self._logs.values():
            log.close()

    async def _wait_effects(self, effects: Sequence[Seen]) -> None:
        """Wait a little until faults have had their effects, as far as hosts tell of them."""
        with trio.move_on_after(EFFECT_WAIT_MAX_S * self._scale):
            for effect in effects:
                await self.history.wait_seen(self._tellable(effect))

    async def _wait_told(self, told: Seen) -> Seen:
        """Wait a little until hosts have told of this; return what they have not."""
        known = self._tellable(told)
        with trio.move_on_after(EFFECT_WAIT_MAX_S * self._scale):
            await self.history.wait_seen(known)
        return self.history.missing(known)

    def _tellable(self, seen: Seen) -> Seen:
        """Return of what was seen that which can be seen here: that of users, and of hosts whose logs are read."""
        return Counter(
            {key: count for key, count in seen.items() if key[0].startswith("user:") or key[0] in self._logs}
        )

    def _tell_of_messages(self, plan: Plan) -> None:
        """Tell of messages that were to be held, and never came: nothing was late then."""
        links = {
            (each.source, each.destination): number
            for number, step in enumerate(plan.steps, 1)
            for each in step.deviations
            if isinstance(each, Hold)
        }
        for (source, destination), number in links.items():
            awaited = self.nemesis.messages_awaited(source, destination)
            if awaited is None:
                awaited = self._deployment.messages_awaited(source, destination)
            if awaited:
                self._stray(number, f"{awaited} of the messages from {source} to {destination} to be held never came")

    def _stray(self, step: int, what: str) -> None:
        self.strays.append(Stray(step, what, len(self.history.events)))


Drive: TypeAlias = Callable[[LiveRun], Awaitable[None]]
MakesRun: TypeAlias = Callable[[System, Plan, Deployment, trio.Nursery], LiveRun]


async def run_live(
    system: System, plan: Plan, drive: Drive, target: Target, properties: Iterable[Property], make: MakesRun = LiveRun
) -> LiveResult:
    """Apply a plan to a deployment, judge what was seen, and undo everything, also when interrupted.

    The system is one `on_target`; `drive` takes the plan's steps, as `LiveRun.play` does, in the run that `make`
    makes. Raises InputError for a plan that was made for other operations, before anything is touched; and
    EnvironmentFailedError, perhaps within a group, when the deployment does not do what it should.
    """
    system.check_plan(plan)
    deployment = Deployment(target, UndoJournal(described(target)))
    try:
        await trio.to_thread.run_sync(deployment.reset)
        try:
            return await _run(partial(make, system, plan, deployment), drive, properties)
        finally:
            deployment.heal()
    finally:
        deployment.close()


async def _run(make: Callable[[trio.Nursery], LiveRun], drive: Drive, properties: Iterable[Property]) -> LiveResult:
    async with trio.open_nursery() as nursery:
        run = make(nursery)
        try:
            run.slow_links()
            nursery.start_soon(run.follow_logs)
            await drive(run)
            if run.heal_core():
                await run.revive()
                await run.wait_quiet()
                run.record_excused()
            run.heal()
            await run.revive()
            await run.wait_quiet()
            run.history.record(Kind.MARK, "", "quiet")
            await run.inspect()
            run.history.record(Kind.MARK, "", "end")
        finally:
            run.close()
        nursery.cancel_scope.cancel()
    return LiveResult(run.history, judge(properties, run.history), run.history.events[-1].at_s, tuple(run.strays))
