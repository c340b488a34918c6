"""The phases of a run's end: with one host left broken the others finish what they can; then everything is healed."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import pytest
import structlog
import trio

from simulator import History, Host, InputError, Pending, User, operation
from simulator.fault import Fault
from simulator.plan import Do, Plan, Setting, Step, Strike
from simulator.reducer import Reducer, one_by_one
from simulator.run import Result
from simulator.simulated_run import simulate
from simulator.story import tell
from tests.simulator.small import Quiet

PORT = 7000
BROKEN = Setting(left_broken=("archive",))
AWAY = Step(Strike(Fault("crash", ("archive",), 1.0)), 0.1)
CUT = Step(Strike(Fault("partition", ("front", "archive"), 1.0)), 0.1)
STORE_AWAY = Step(Strike(Fault("crash", ("store",), 5.0)))


class Office(Quiet):
    """The front does its work once it has reached the host that it waits for; the archive it can do without."""

    waits_for = "store"
    quiet_within_s = 20.0
    left_to_do: ClassVar[tuple[str | Pending, ...]] = (Pending("the work", needs=("front",)),)

    def hosts(self) -> Iterator[Host]:
        yield Host("store", self.listen)
        yield Host("archive", self.listen)
        yield Host("front", self.work, needs=("store", "archive"), optional=("archive",), open_to_users=True)

    async def listen(self) -> None:
        await trio.serve_tcp(self.accept, PORT)

    async def accept(self, _stream: trio.SocketStream) -> None: ...

    async def work(self) -> None:
        await trio.sleep(0.05)
        while True:
            with trio.move_on_after(1.0):
                try:
                    await trio.open_tcp_stream(self.waits_for, PORT)
                except OSError:
                    await trio.sleep_forever()
                else:
                    break
        structlog.get_logger().info("done")
        await trio.sleep_forever()

    def pending(self, history: History) -> Iterable[str | Pending]:
        return () if history.observed("done") else self.left_to_do

    async def settle(self, user: User) -> None:
        user.observe("settling")
        await trio.sleep(3.0)
        user.observe("settled")

    @operation(needs=("store",))
    async def read(self, user: User) -> None:
        await trio.sleep_forever()


def office(**attributes: object) -> Office:
    made: Office = type("Office", (Office,), attributes)()
    return made


WAITING = office(waits_for="archive")


def run(system: Office, *steps: Step, setting: Setting = BROKEN) -> Result:
    return simulate(system, Plan(setting, steps), system.all_properties())


def evidence(result: Result) -> str:
    violation = result.verdicts["finishes"].violation
    return violation.evidence if violation is not None else ""


def excused(result: Result) -> dict[str, str]:
    return {str(each.data["what"]): str(each.data["why"]) for each in result.history.observed("excused")}


@pytest.mark.parametrize("fault", [AWAY, CUT])
def test_who_waits_for_what_it_need_not_is_found_only_while_that_is_left_broken(fault: Step) -> None:
    """Once everything is healed it finishes, and nobody would know. The fault does not end by itself meanwhile."""
    result = run(WAITING, fault)
    violation = result.verdicts["finishes"].violation
    assert violation is not None
    assert violation.site == "pending in the core"
    at = " and ".join(fault.action.fault.at) if isinstance(fault.action, Strike) else ""
    kind = fault.action.fault.kind if isinstance(fault.action, Strike) else ""
    assert violation.evidence.startswith("the work, 2")
    assert violation.evidence.endswith(f"s after everything but the fault '{kind}' at {at} was healed; it had 20 s")
    assert result.history.observed("done")
    assert not run(WAITING, fault, setting=Setting()).violated


def test_who_does_without_goes_on_and_the_rest_is_healed_at_once() -> None:
    """A promise kept; and the simulated time for it is only what it takes."""
    result = run(office(), STORE_AWAY, AWAY)
    assert not result.violated
    core_s, heal_s = result.history.marked_at("heal_core"), result.history.marked_at("heal")
    assert core_s is not None
    assert heal_s is not None
    ends = {each.host: each.at_s for each in result.history.faults() if each.data["phase"] == "end"}
    assert ends == {"store": core_s, "archive": heal_s}
    assert core_s < result.history.observed("done")[0].at_s < heal_s < core_s + 5


@pytest.mark.parametrize(
    ("left_to_do", "why"),
    [
        ("the work", "it may need everything, and the fault 'crash' at archive is not over"),
        (Pending("the work"), "it may need everything, and the fault 'crash' at archive is not over"),
        (
            Pending("the work", needs=("front", "archive")),
            "it needs front, and so archive, and the fault 'crash' at archive is not over",
        ),
    ],
)
def test_what_may_need_what_is_broken_is_excused_until_everything_is_healed(
    left_to_do: str | Pending, why: str
) -> None:
    """With the reason on record. Then it is due like everything else."""
    system = office(waits_for="archive", left_to_do=(left_to_do,))
    result = run(system, AWAY)
    assert not result.violated
    assert excused(result)["the work"] == why
    never = office(waits_for="nowhere", left_to_do=(left_to_do,))
    assert "the work, 2" in evidence(run(never, AWAY))
    assert "after everything was healed" in evidence(run(never, AWAY))


@pytest.mark.parametrize(
    "steps",
    [
        (),
        (STORE_AWAY,),
        (Step(Strike(Fault("crash", ("archive",), 0.05)), 1.0),),
        (Step(Strike(Fault("reset", ("front", "archive"))), 1.0),),
    ],
)
def test_when_nothing_is_left_broken_everything_is_healed_at_once(steps: tuple[Step, ...]) -> None:
    """The very same run, to the hash: nothing strikes that host, or not any more."""
    result = run(WAITING, *steps)
    assert result.history.marked_at("heal_core") is None
    assert result.history.hash == run(WAITING, *steps, setting=Setting()).history.hash


def test_users_come_to_rest_in_each_phase_one_after_another() -> None:
    """Nobody expects to be called again before the first call has returned."""
    result = run(office(), AWAY)
    assert [each.name for each in result.history.observed("settling", "settled")] == ["settling", "settled"] * 2
    assert excused(result)["settle of alice did not return"].startswith("it may need everything")


@pytest.mark.parametrize(
    ("away", "why"), [("archive", None), ("store", "it needs user:alice, and so front, and so store")]
)
def test_an_operation_must_return_unless_what_it_needs_is_broken(away: str, why: str | None) -> None:
    """Liveness is judged for the user too."""
    strike = Step(Strike(Fault("crash", (away,), 5.0)), 0.1)
    result = run(office(), Step(Do("read", 0), 1.0), strike, setting=Setting(left_broken=(away,)))
    assert evidence(result).startswith("read of alice did not return, 2")
    assert ("everything but the fault 'crash' at archive was healed" in evidence(result)) is (why is None)
    assert excused(result).get("read of alice did not return", "None").startswith(str(why))


def test_the_bound_is_made_of_the_systems_constants_and_says_so() -> None:
    """A number without a reason is raised until it is green."""
    patience: Mapping[str, float] = {"a breaker to close": 2.5, "a retry": 0.5}
    system = office(waits_for="nowhere", patience=patience)
    result = run(system, setting=Setting())
    assert evidence(result).endswith("was healed; it had 3 s (2.5 s for a breaker to close, 0.5 s for a retry)")
    assert 3 <= float(str(result.history.observed("still_pending")[0].data["after_s"])) < 5
    story = tell(system, Plan(Setting(), ()))
    assert story[-1] == "   0.001 s  everything is healed; then the system has 3 s to come to rest"


def test_the_story_tells_what_is_left_broken() -> None:
    """Whoever reads a failure of that phase must know that the fault was not over."""
    assert tell(office(), Plan(BROKEN, (AWAY,)))[1:] == (
        "   0.101 s  all but archive is healed; what does not need archive has 20 s to finish",
        "            everything is healed; then the system has 20 s to come to rest",
    )


def test_a_plan_that_leaves_an_unknown_host_broken_is_refused() -> None:
    """A trace of another version of the system."""
    with pytest.raises(InputError, match=r"leaves host='nowhere' broken. Known: store, archive, front"):
        run(office(), setting=Setting(left_broken=("nowhere",)))


def test_the_reducer_leaves_broken_only_what_must_be() -> None:
    """Everything healed at once is what a reader expects."""
    plan = Plan(Setting(left_broken=("a", "b", "c")), (AWAY,))
    needed: list[tuple[str, ...]] = [(), ("b",)]
    for names in needed:

        def fails(each: Plan, names: tuple[str, ...] = names) -> bool:
            return all(name in each.setting.left_broken for name in names)

        assert Reducer(one_by_one(fails), budget_s=60.0).reduce(plan).plan.setting.left_broken == names


def test_what_is_declared_wrongly_is_refused_before_any_run() -> None:
    """A typing error in a need would excuse nothing, or everything."""

    def hosts(self: Office) -> Iterator[Host]:
        yield Host("front", self.work, optional=("store",))

    async def read(self: Any, user: User) -> None: ...

    for system, says in (
        (office(hosts=hosts), "can do without 'store' .optional., which is not among its needs: none"),
        (office(read=operation(needs=("stor",))(read)), "operation 'read' needs 'stor'. Known: store, archive, front"),
    ):
        with pytest.raises(InputError, match=says):
            system.check_declared()
