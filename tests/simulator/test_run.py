"""What a run records: how operations end, what nobody handles, and what steps leave out."""

import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trio

from simulator import Host, InputError, Kind, System, Trouble, User, operation
from simulator.fault import Fault
from simulator.plan import Action, Do, Plan, Setting, Step, Strike, Wait
from simulator.property import Outcome
from simulator.run import Result, is_connection_loss
from simulator.simulated_run import SimulatedRun, simulate
from tests.simulator.small import Outcomes, Quiet, SelfHarming, Uninspectable, outcomes
from tests.world.stage import PORT, Ending


def run(system: System, *actions: Action, users: int = 1) -> Result:
    steps = tuple(Step(action, 0.5) for action in actions)
    return simulate(system, Plan(Setting(users=users), steps), system.all_properties())


def evidence(result: Result, name: str) -> str:
    violation = result.verdicts[name].violation
    return violation.evidence if violation is not None else ""


@pytest.mark.parametrize(
    ("name", "kind"),
    [("act", Kind.OK), ("refused", Kind.FAIL), ("broken", Kind.INFO), ("late", Kind.INFO)],
)
def test_operations_end_known_or_unknown(name: str, kind: Kind) -> None:
    """`Failed` did not happen; a lost connection or a time-out may have. Neither is a bug."""
    result = run(outcomes, Do(name, 0))
    completed = result.history.operations()[0].completed
    assert completed is not None
    assert completed.kind is kind
    assert not result.violated


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("wrong", "ValueError: a bug"),
        ("exits", "SystemExit: 0"),
        ("returns_object", "such as JSON can hold"),
    ],
)
def test_what_an_operation_should_not_raise_is_a_violation(name: str, says: str) -> None:
    """Nobody handled it; it may have happened. Silence would be a pass."""
    result = run(outcomes, Do(name, 0))
    assert result.violated == ["uncaught"]
    assert says in evidence(result, "uncaught")
    assert name in evidence(result, "uncaught")
    completed = result.history.operations()[0].completed
    assert completed is not None
    assert completed.kind is Kind.INFO


def test_an_operation_that_never_returns_is_pending() -> None:
    """Liveness is judged for the user too, and the operation stays open."""
    result = run(outcomes, Do("stuck", 0))
    assert result.violated == ["finishes"]
    assert re.match(
        r"stuck of alice did not return, 6\d.* s after everything was healed; it had 60 s$",
        evidence(result, "finishes"),
    )
    assert result.history.operations()[0].completed is None


def test_an_operation_cannot_change_the_plan() -> None:
    """The plan is replayed and saved afterwards; the history says what was when it was."""
    plan = Plan(Setting(), (Step(Do("changes", 0, {"items": [7]})),))
    result = simulate(outcomes, plan, ())
    assert plan.steps[0].action == Do("changes", 0, {"items": [7]})
    assert result.history.operations()[0].arguments == {"items": [7]}
    assert result.history.observed("items")[0].data == {"items": [7, 1]}
    assert simulate(outcomes, plan, ()).history.hash == result.history.hash


def test_when_decides_in_the_run_too() -> None:
    """A step that makes no sense any more, because the reducer deleted its reason, is left out."""
    names = [
        each.name for each in run(outcomes, Do("only_then", 0), Do("ask", 0), Do("only_then", 0)).history.operations()
    ]
    assert names == ["ask", "only_then"]
    assert not run(outcomes, Do("only_then", 0)).history.operations()


def test_a_user_that_does_not_exist_does_nothing() -> None:
    """Fewer users are tried by the reducer before their steps are gone."""
    assert not run(outcomes, Do("act", 1)).history.operations()
    assert len(run(outcomes, Do("act", 1), users=2).history.operations()) == 1


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (Do("no_such", 0), "no operation 'no_such'. Known: act"),
        (Do("act", 0, {"amount": 1}), "'act' cannot be done with arguments=amount: .* it takes none"),
        (Strike(Fault("crash", ("nowhere",), 1.0)), "host='nowhere'"),
        (Strike(Fault("tornado", ("server",), 1.0)), "Known kinds"),
        (Strike(Fault("partition", ("server",), 1.0)), "strikes 2"),
        (Strike(Fault("terminate", ("server",), 1.0)), "host='server' cannot be told to end"),
    ],
)
def test_a_step_that_the_system_does_not_have_is_the_traces_fault(action: Action, says: str) -> None:
    """A trace of another version: named, not a KeyError. The world closes all the same."""
    with pytest.raises(InputError, match=says):
        run(outcomes, action)
    assert not run(outcomes, Do("act", 0)).violated


@pytest.mark.parametrize(
    ("how", "says"), [("raise", "ValueError: a bug"), ("exit", "the program ended itself: SystemExit: 0")]
)
def test_a_host_that_dies_of_itself_is_a_violation(how: str, says: str) -> None:
    """Neither a bug nor `sys.exit` ends more than its host; least of all our own process with its exit code."""
    system = SelfHarming()
    system.how = how
    result = run(system, Do("act", 0), Wait(), Wait())
    assert result.violated == ["uncaught"]
    assert f"main on server raised {'ValueError' if how == 'raise' else 'RuntimeError'}" in evidence(result, "uncaught")
    assert says in evidence(result, "uncaught")
    assert len(result.history.observed("uncaught")) == 1


def test_whatever_is_logged_becomes_an_observation() -> None:
    """Programs log exceptions and objects. Their words must not hold an address, which no two runs share."""
    system = SelfHarming()
    system.how = "log"
    results = [run(system, Do("act", 0), Wait(), Wait()) for _ in range(2)]
    assert results[0].history.observed("spoke")[0].data == {"error": "ValueError: logged", "thing": "<object>"}
    assert results[0].history.hash == results[1].history.hash
    assert not results[0].violated


def test_what_the_programs_have_when_all_is_quiet_is_recorded() -> None:
    """Of hosts that are up."""
    result = run(Quiet(), Do("act", 0, {}))
    (holdings,) = result.history.observed("holdings")
    assert (holdings.host, holdings.data["sockets"]) == ("server", {})
    assert int(str(holdings.data["tasks"])) >= 1
    assert holdings.at_s == result.history.marked_at("quiet")


def test_a_store_that_cannot_be_inspected_is_a_violation() -> None:
    """Everything is healed by then. To raise would lose the failure that broke the store."""
    result = run(Uninspectable(), Do("act", 0))
    assert result.violated == ["uncaught"]
    assert "inspect on observer raised" in evidence(result, "uncaught")


def test_heal_ends_what_is_still_under_way() -> None:
    """Once each, and a fault that ended before is not ended again."""
    result = run(
        Quiet(), Do("act", 0), Strike(Fault("crash", ("server",), 0.1)), Strike(Fault("freeze", ("server",), 99.0))
    )
    faults = [(event.name, event.data["phase"]) for event in result.history.faults()]
    assert faults == [("crash", "begin"), ("crash", "end"), ("freeze", "begin"), ("freeze", "end")]
    healed_s = result.history.marked_at("heal")
    assert [event.at_s for event in result.history.faults("freeze")][1] == healed_s
    assert healed_s == 1.501


class Lamp:
    """A service with a switch."""

    def __init__(self) -> None:
        self.lit = False

    def switch(self, lit: bool) -> None:
        self.lit = lit


class Lit(Quiet):
    """Its host's service can be lit; the operation sees whether it is, the second host never gets into trouble."""

    def hosts(self) -> Iterator[Host]:
        self.lamp = lamp = Lamp()
        lit = Trouble("lit", lambda: lamp.switch(True), lambda: lamp.switch(False))
        yield Host("lamp", self.serve, troubles=(lit,))
        yield Host("other", self.serve, open_to_users=True)

    @operation()
    async def act(self, user: User) -> bool:
        return self.lamp.lit


def lit(for_s: float) -> Strike:
    return Strike(Fault("lit", ("lamp",), for_s))


def test_a_trouble_begins_and_ends_on_the_services_of_its_own_run() -> None:
    """Or two runs of one system would see each other's; with its host down as well."""
    system = Lit()
    for _ in range(2):
        result = run(system, Do("act", 0), Strike(Fault("crash", ("lamp",), 9.0)), lit(1.0), Do("act", 0), Do("act", 0))
        assert [each.result for each in result.history.operations()] == [False, True, False]
        faults = [(event.name, event.host, event.data["phase"], event.at_s) for event in result.history.faults("lit")]
        assert faults == [("lit", "lamp", "begin", 1.001), ("lit", "lamp", "end", 2.001)]


def test_overlapping_troubles_last_until_the_last_ends_and_all_end_with_heal() -> None:
    """The liveness phase is judged on sound services."""
    result = run(Lit(), lit(1.5), lit(1.0), Do("act", 0), Do("act", 0))
    assert [each.result for each in result.history.operations()] == [True, False]
    with SimulatedRun(Lit(), Setting()) as begun:
        begun.apply(Step(lit(99.0), 0.5))
        lamp = begun.system.lamp  # type: ignore[attr-defined]
        assert lamp.lit
        begun.finish(())
        assert not lamp.lit


class Twofold(Quiet):
    """Two servers behind one name, which answer after a while, and can be told to end: they answer first."""

    def hosts(self) -> Iterator[Host]:
        for name in ("a", "b"):
            server = Ending(answer_late)
            yield Host(name, server.main, behind="both", open_to_users=True, on_terminate=server.end)

    @operation()
    async def act(self, user: User) -> str:
        async with await trio.open_tcp_stream("both", PORT) as stream:
            await stream.send_all(b"?")
            return (await stream.receive_some()).decode()


async def answer_late(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        async with stream:
            await stream.receive_some()
            await trio.sleep(1.0)
            await stream.send_all(b"answer")


@pytest.mark.parametrize(("kind", "lost"), [("terminate", 0), ("crash", 1)])
def test_a_rolling_restart_behind_a_shared_name_is_felt_by_nobody(kind: str, lost: int) -> None:
    """Who was served is answered before the end, who comes meanwhile is led to the other host: unlike in a crash."""
    strikes = [Strike(Fault(kind, (host,), 4.0)) for host in ("a", "b")]
    calm = [Wait()] * 8
    result = run(Twofold(), Do("act", 0), strikes[0], Do("act", 0), *calm, Do("act", 0), strikes[1], *calm)
    answered = [each.result == "answer" for each in result.history.operations()]
    assert answered.count(False) == lost
    phases = [(event.name, event.data["phase"]) for event in result.history.faults()]
    assert phases == [(kind, "begin"), (kind, "end")] * 2
    assert not result.violated


def test_a_trouble_of_another_host_is_refused() -> None:
    """A trace of another version, or of another system."""
    for host in ("other", "nowhere"):
        with pytest.raises(InputError, match=rf"no fault kind='lit' for at=\['{host}'\].*lit \(of lamp\)"):
            run(Lit(), Strike(Fault("lit", (host,), 1.0)))


def test_a_run_that_never_began_closes_its_world() -> None:
    """The next run in this process must be able to begin."""

    class Broken(Quiet):
        def hosts(self):
            raise LookupError("no hosts today")

    with pytest.raises(LookupError):
        SimulatedRun(Broken(), Setting())
    assert run(Outcomes(), Do("act", 0)).verdicts["uncaught"].outcome is Outcome.HOLDS


def test_nothing_done_is_nothing_known() -> None:
    """The promises that every system makes need something to have been done."""
    assert {verdict.outcome for verdict in run(Quiet()).verdicts.values()} == {Outcome.UNKNOWN}


def wrapped(error: Exception, cause: BaseException | None = None) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ConnectionResetError(), True),
        (trio.BrokenResourceError(), True),
        (wrapped(RuntimeError("a client library's own"), ConnectionRefusedError()), True),
        (ExceptionGroup("", [OSError(), EOFError()]), True),
        (ExceptionGroup("", [OSError(), ValueError()]), False),
        (ValueError("a bug"), False),
    ],
    ids=repr,
)
def test_a_lost_connection_is_known_however_a_client_library_wraps_it(error: Exception, lost: bool) -> None:
    """httpx raises its own error from the socket's: taken for a bug of the operation, it would cry wolf."""
    assert is_connection_loss(error) is lost


class Asking(Quiet):
    """Its users connect and wait for a greeting."""

    async def serve(self) -> None:
        """Greet."""
        await trio.serve_tcp(lambda stream: stream.send_all(b"hello"), PORT, host="0.0.0.0")

    @operation()
    async def act(self, user: User) -> str:
        """Return the greeting."""
        async with await trio.open_tcp_stream("server", PORT) as stream:
            return (await stream.receive_some()).decode()


def test_a_host_that_is_far_away_is_so_for_everybody() -> None:
    """The links from and to it are as slow as it is far; the history says how slow the slowest is."""

    def took_s(**latencies: float) -> float:
        setting = Setting(latency_s=0.001, latencies={name.replace("_", ":"): each for name, each in latencies.items()})
        done = simulate(Asking(), Plan(setting, (Step(Do("act", 0), 1.0),)), ())
        (act,) = done.history.operations()
        assert act.completed is not None
        assert done.history.events[0].data["latency_s"] == max(0.001, *latencies.values(), 0.0)
        return act.completed.at_s - act.invoked.at_s

    near_s = took_s()
    assert near_s >= 0.002
    assert took_s(user_alice=0.02) == took_s(server=0.02) == pytest.approx(20 * near_s)
    assert took_s(user_alice=0.02, server=0.05) == pytest.approx(50 * near_s)
