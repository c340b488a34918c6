"""The parts of a live run, each by itself: what steps wait for, what logs say, how faults overlap."""

import socket
import time
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import trio
import trio.testing

from simulator.deviation import Hold
from simulator.errors import EnvironmentFailedError
from simulator.fault import FAULT_KINDS, Fault
from simulator.history import Event, Kind, Value
from simulator.host import Host
from simulator.live.anchors import WatchedHistory, anchors_of
from simulator.live.credential import Credential
from simulator.live.deed import Deed
from simulator.live.expressible import inexpressible
from simulator.live.logs import HostLog, LogEntry
from simulator.live.names import LiveNames, on_host
from simulator.live.nemesis import LiveNemesis, deeds_of, strike_proxy
from simulator.live.process import free_port
from simulator.live.proxy import Direction, Proxy
from simulator.live.run import LiveRun
from simulator.live.sockets import LiveSockets
from simulator.live.target import ByStaging, ByToxiproxy, HostTarget, Target
from simulator.plan import Do, Plan, Setting, Step, Strike, Wait
from tests.live.test_proxy import Wire, assert_nothing_comes, on_a_wire, wait_reset

ALICE, BOB = "user:alice", "user:bob"


def event(kind: Kind, host: str, name: str, **data: Value) -> dict[str, Value]:
    return {"at_s": 0.0, "kind": kind.value, "host": host, "name": name, "data": data}


CRASH = Fault("crash", ("redis",), 1.0)
EVENTS = [
    event(Kind.MARK, "", "start"),
    event(Kind.INVOKE, ALICE, "connect"),
    event(Kind.OBSERVE, "platform", "connection_opened"),
    event(Kind.OBSERVE, ALICE, "frame"),
    event(Kind.OK, ALICE, "connect"),
    event(Kind.FAULT, "redis", "crash", phase="begin"),
    event(Kind.OBSERVE, ALICE, "frame"),
    event(Kind.FAULT, "redis", "crash", phase="end"),
    event(Kind.INVOKE, BOB, "connect"),
]


def plan(*actions: Do | Strike | Wait) -> Plan:
    return Plan(Setting(users=2), tuple(Step(action) for action in actions))


def test_a_step_waits_for_what_users_had_seen_before_it_in_simulation() -> None:
    """What the platform did is known from its log, late: only what users see can order steps."""
    anchors = anchors_of(plan(Do("connect", 0), Strike(CRASH), Wait(), Do("connect", 1)), EVENTS)
    assert anchors.before == (
        Counter(),
        Counter({(ALICE, "frame"): 1, (ALICE, "connect"): 1}),
        Counter(),
        Counter({(ALICE, "frame"): 2, (ALICE, "connect"): 1}),
    )


def test_a_fault_lasts_until_it_has_had_the_effect_that_it_had_in_simulation() -> None:
    """On any host: a service that answers wrongly for a moment must be asked in that moment."""
    anchors = anchors_of(plan(Do("connect", 0), Strike(CRASH), Do("connect", 1)), EVENTS)
    assert anchors.during == (Counter(), Counter({(ALICE, "frame"): 1}), Counter())
    healed = [*EVENTS[:6], event(Kind.OBSERVE, "llm", "exchanged"), event(Kind.MARK, "", "heal"), *EVENTS[6:]]
    anchors = anchors_of(plan(Do("connect", 0), Strike(CRASH)), healed)
    assert anchors.during[1] == Counter({("llm", "exchanged"): 1})


def test_a_fault_comes_after_what_hosts_had_told_before_it() -> None:
    """What was written a moment before a store is cut off in simulation is written here, too."""
    told = [*EVENTS[:3], event(Kind.OBSERVE, "agents", "analytics_written"), *EVENTS[3:]]
    anchors = anchors_of(plan(Do("connect", 0), Strike(CRASH), Do("connect", 1)), told)
    assert anchors.told[0] == anchors.told[2] == Counter()
    assert anchors.told[1][("agents", "analytics_written")] == 1


def test_a_step_that_was_left_out_in_simulation_is_left_out_live() -> None:
    """Otherwise every later step would wait for the wrong moment."""
    anchors = anchors_of(plan(Do("connect", 0), Do("ask", 1), Strike(CRASH), Do("connect", 1)), EVENTS)
    assert [anchor is None for anchor in anchors.before] == [False, True, False, False]
    assert anchors.before[2] == Counter({(ALICE, "frame"): 1, (ALICE, "connect"): 1})


def test_a_trace_without_events_is_played_without_waiting() -> None:
    """A plan made by hand has no history yet."""
    assert anchors_of(plan(Do("connect", 0), Strike(CRASH)), []).before == (Counter(), Counter())


def test_a_history_wakes_who_waits_as_soon_as_users_have_seen_it() -> None:
    """A fault that must strike right after an acknowledgement comes too late if that is polled for."""

    async def main() -> None:
        history = WatchedHistory()
        woken = trio.Event()

        async def wait() -> None:
            await history.wait_seen(Counter({(ALICE, "frame"): 2}))
            woken.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            history.record(Kind.OBSERVE, ALICE, "frame")
            history.record(Kind.OBSERVE, BOB, "frame")
            history.record(Kind.INVOKE, ALICE, "frame")
            await trio.testing.wait_all_tasks_blocked()
            assert not woken.is_set()
            history.record(Kind.OBSERVE, ALICE, "frame")
            await trio.testing.wait_all_tasks_blocked()
            assert woken.is_set()

    trio.run(main)


def test_a_frame_of_one_type_does_not_stand_for_one_of_another() -> None:
    """A new token comes when it is due, in whatever order with the reply that a step waits for."""
    events = [
        event(Kind.INVOKE, ALICE, "connect"),
        event(Kind.OBSERVE, ALICE, "frame", type="reply"),
        event(Kind.INVOKE, BOB, "connect"),
    ]
    anchor = anchors_of(plan(Do("connect", 0), Do("connect", 1)), events).before[1]
    assert anchor is not None

    async def main() -> None:
        history = WatchedHistory()
        history.record(Kind.OBSERVE, ALICE, "frame", {"type": "token"})
        assert history.missing(anchor)
        history.record(Kind.OBSERVE, ALICE, "frame", {"type": "reply"})
        assert not history.missing(anchor)

    trio.run(main)


def test_what_a_host_logged_has_the_time_at_which_it_did_but_time_never_goes_back() -> None:
    """Promises with a time in them are judged by it, and a log is read a moment later."""

    async def main() -> None:
        history = WatchedHistory()
        begun_at_s = time.time()
        await trio.sleep(0.05)

        def record(name: str, logged_at_s: float) -> None:
            history.record_at(Event(0, history.since_epoch(logged_at_s), Kind.OBSERVE, "gateway-a", name, {}))

        record("before", begun_at_s + 0.02)
        record("long before", begun_at_s - 60.0)
        record("not yet", begun_at_s + 60.0)
        before, long_before, not_yet = (each.at_s for each in history.events)
        assert before == pytest.approx(0.02, abs=0.005)
        assert long_before == before
        assert before < not_yet < 60.0

    trio.run(main)


def test_hosts_whose_clocks_are_ahead_keep_their_order() -> None:
    """Whatever order the target names them in."""

    async def main() -> None:
        history = WatchedHistory()
        ahead = [Event(0, 60.0 + late_s, Kind.OBSERVE, host, "told", {}) for host, late_s in (("a", 0.2), ("b", 0.1))]
        LiveRun.read_logs(SimpleNamespace(history=history, logged=lambda: ahead))  # type: ignore[arg-type]
        assert [event.host for event in history.events] == ["b", "a"]
        assert all(event.at_s < 60.0 for event in history.events)

    trio.run(main)


def test_a_log_is_read_from_its_present_end_line_by_line(tmp_path: Path) -> None:
    """A line may be half written when it is read; a traceback between the lines is none of ours."""
    path = tmp_path / "log"
    path.write_text('{"event": "of an earlier run"}\n')
    log = HostLog(path)
    with path.open("a") as writer:
        writer.write(
            '{"event": "first", "n": 1, "timestamp": "1970-01-01T00:00:00.250Z"}\nTraceback:\n[1]\n{"no": 1}\n{"eve'
        )
        writer.flush()
        assert log.read() == [LogEntry("first", {"n": 1}, logged_at_s=0.25)]
        writer.write('nt": "second"}\n')
        writer.flush()
        (second,) = log.read()
        assert (second.name, second.fields) == ("second", {})
    log.close()


def test_a_log_that_cannot_be_read_is_the_environments_fault(tmp_path: Path) -> None:
    """A deployment on another machine has its logs there."""
    with pytest.raises(EnvironmentFailedError, match=r"See log under \[hosts\]"):
        HostLog(tmp_path / "none")


def a_nemesis(setting: Setting | None = None) -> tuple[LiveNemesis, list[Deed]]:
    """A nemesis, and the deeds that it asks for."""
    deeds: list[Deed] = []
    return LiveNemesis(deeds.append, {}, (setting or Setting()).latency_between_s), deeds


def actions(deeds: list[Deed]) -> list[str]:
    return [deed.action for deed in deeds]


def test_overlapping_faults_do_not_undo_each_other() -> None:
    """The link must stay cut until the last of them ends."""
    nemesis, deeds = a_nemesis()
    for strike in (nemesis.block, nemesis.block, nemesis.refuse, nemesis.unblock):
        strike("platform", "redis")
    assert actions(deeds) == ["hold", "refuse"]
    nemesis.unblock("platform", "redis")
    nemesis.admit("platform", "redis")
    assert actions(deeds) == ["hold", "refuse", "release", "admit"]


def test_a_host_that_is_down_refuses_its_users_until_it_is_back() -> None:
    """A proxy that accepted them would keep a client from trying its next address; another's users are let in."""
    proxies = {(ALICE, "gateway"): Proxy(("127.0.0.1", 1)), (ALICE, "other"): Proxy(("127.0.0.1", 1))}
    done: list[tuple[str, str]] = []
    for (_, host), proxy in proxies.items():
        mock.patch.object(proxy, "refuse", lambda host=host: done.append(("refuse", host))).start()
        mock.patch.object(proxy, "admit", lambda host=host: done.append(("admit", host))).start()
    nemesis = LiveNemesis(lambda _deed: None, proxies, Setting().latency_between_s)
    nemesis.crash("gateway", silently=False)
    nemesis.refuse(ALICE, "gateway")
    nemesis.crash("gateway", silently=False)
    assert done == [("refuse", "gateway")]
    nemesis.restart("gateway")
    nemesis.restart("gateway")
    assert done == [("refuse", "gateway")], "a fault of its own refuses still"
    nemesis.admit(ALICE, "gateway")
    assert done == [("refuse", "gateway"), ("admit", "gateway")]


def test_troubles_and_terminations_are_ordered_from_the_deployment() -> None:
    """Overlapping ones too."""
    nemesis, deeds = a_nemesis()
    for _ in range(2):
        nemesis.begin_trouble("llm", "slow-answers")
    for _ in range(2):
        nemesis.end_trouble("llm", "slow-answers")
    nemesis.terminate("gateway")
    nemesis.relaunch("gateway")
    assert deeds == [
        Deed("begin", ("llm",), name="slow-answers"),
        Deed("end", ("llm",), name="slow-answers"),
        Deed("terminate", ("gateway",)),
        Deed("restart", ("gateway",)),
    ]


def test_a_slow_link_is_slower_than_the_simulated_latency_and_then_as_slow() -> None:
    """The latency of the simulation is part of the timing that a failure needs."""
    nemesis, deeds = a_nemesis(Setting(latency_s=0.02))
    nemesis.slow_all([("platform", "redis")])
    nemesis.slow("platform", "redis", 0.3)
    nemesis.slow("platform", "redis", -0.3)
    assert [deed.seconds for deed in deeds] == pytest.approx([0.02, 0.02, 0.32, 0.02])


def test_links_of_a_host_that_is_far_away_are_as_slow_as_in_the_simulation() -> None:
    """Whoever is at the other end."""
    nemesis, deeds = a_nemesis(Setting(latency_s=0.001, latencies={"redis": 0.02}))
    nemesis.slow_all([("platform", "redis"), ("platform", "llm")])
    assert [(deed.at[1], deed.seconds) for deed in deeds[::2]] == [
        ("redis", 0.02),
        ("llm", 0.001),
    ]


def test_a_host_is_back_after_the_last_of_its_faults_only() -> None:
    """As in a world: who crashes while it is told to end stays down for the longer of both."""
    nemesis, deeds = a_nemesis()
    nemesis.terminate("agents")
    nemesis.crash("agents", silently=False)
    nemesis.freeze("redis")
    nemesis.freeze("redis")
    nemesis.restart("agents")
    nemesis.thaw("redis")
    assert actions(deeds) == ["terminate", "crash", "freeze"]
    nemesis.relaunch("agents")
    nemesis.thaw("redis")
    assert actions(deeds)[3:] == ["restart", "thaw"]


def test_a_trouble_is_ordered_once_and_ended_with_the_last() -> None:
    """A service knows nothing of how many wanted it in trouble."""
    nemesis, deeds = a_nemesis()
    for _ in range(2):
        nemesis.begin_trouble("llm", "llm-cut")
    for _ in range(2):
        nemesis.end_trouble("llm", "llm-cut")
    assert [(deed.action, deed.name) for deed in deeds] == [("begin", "llm-cut"), ("end", "llm-cut")]


@pytest.mark.parametrize("kind", [kind for kind in FAULT_KINDS if kind != "vanish"])
def test_every_fault_kind_is_expressible_and_undone(kind: str) -> None:
    """Each begin has its end in orders that a deployment understands, proxies' ones included."""
    strikes = FAULT_KINDS[kind].strikes
    deeds = deeds_of(FAULT_KINDS[kind], Fault(kind, ("platform", "redis") if strikes == 2 else ("redis",), 1.0))
    left = dict.fromkeys(deed.undoing() for deed in deeds if deed.undoing() is not None)
    for deed in deeds:
        left.pop(deed, None)
    assert not left
    proxy = Proxy(("127.0.0.1", 1))
    for deed in deeds:
        if len(deed.at) == 2:
            strike_proxy(proxy, deed.action, Direction.TO_UPSTREAM, deed.seconds)


def test_an_unknown_order_to_a_proxy_is_refused() -> None:
    """Orders come over a wire."""
    with pytest.raises(KeyError):
        strike_proxy(Proxy(("127.0.0.1", 1)), "explode", Direction.TO_UPSTREAM)


def test_a_connection_that_went_dead_is_reset_when_a_side_sends_again() -> None:
    """As in simulation: a reset at the end of the fault would tell a mere listener what a network never tells."""

    async def test(wire: Wire) -> None:
        quiet, sending = await wire.connect(), await wire.connect()
        wire.proxy.silence()
        wire.proxy.unsilence()
        await assert_nothing_comes(quiet.client)
        await sending.client.send_all(b"anyone?")
        await wait_reset(sending.client)
        await assert_nothing_comes(quiet.client)

    on_a_wire(test)


def test_a_dead_connection_on_which_something_was_lost_is_reset_when_the_network_passes_again() -> None:
    """TCP sends again what was not acknowledged, and is told then."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.silence()
        await pair.client.send_all(b"anyone?")
        await assert_nothing_comes(pair.server)
        wire.proxy.unsilence()
        await wait_reset(pair.client)

    on_a_wire(test)


# Names


async def nowhere() -> None:
    pass


HOSTS = [Host("redis", nowhere), *(Host(each, nowhere, open_to_users=True, behind="gateway") for each in ("a", "b"))]
TARGET = Target({name: HostTarget(f"127.0.0.1:{port}") for port, name in enumerate(("redis", "a", "b"), 1)})


def test_a_shared_name_leads_to_each_host_in_turn_each_user_by_proxies_of_their_own() -> None:
    """The order is that of a simulation, so that a fault on a gateway strikes the same users."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            names = LiveNames(TARGET, HOSTS, [ALICE, BOB], nursery)
            hosts = {proxy.host: who for who, proxy in names.user_proxies.items()}
            port = free_port()
            on_host(ALICE)
            led = [[hosts[address[4][0]] for address in await names.getaddrinfo("gateway", port)] for _ in range(2)]
            assert led == [[(ALICE, "b"), (ALICE, "a")], [(ALICE, "a"), (ALICE, "b")]]
            on_host(BOB)
            ((_, _, _, _, address),) = await names.getaddrinfo("b", port)
            assert hosts[address[0]] == (BOB, "b")
            ((*_, one),) = await names.getaddrinfo("redis", port)
            on_host("")
            ((*_, other),) = await names.getaddrinfo("redis", port)
            assert one == other
            with pytest.raises(socket.gaierror, match="gatekeeper"):
                await names.getaddrinfo("gatekeeper", port)
            nursery.cancel_scope.cancel()

    trio.run(main)


# Messages


def test_one_message_to_a_user_is_late_and_no_other() -> None:
    """So that "the second reply comes after the cancellation" can be done to a real gateway."""

    async def test(wire: Wire) -> None:
        async with trio.open_nursery() as nursery:
            proxies = {(ALICE, "gateway"): wire.proxy}
            nemesis = LiveNemesis(lambda _deed: None, proxies, Setting().latency_between_s, nursery)
            nemesis.hold_message("gateway", ALICE, 2, 0.3)
            nemesis.hold_message(ALICE, "gateway", 5, 0.3)
            assert nemesis.messages_awaited("gateway", "redis") is None
            await trio.testing.wait_all_tasks_blocked()
            pair = await wire.connect()
            await pair.server.send_all(b"first")
            assert await pair.client.receive_some() == b"first"
            begun_s = trio.current_time()
            await pair.server.send_all(b"second")
            assert await pair.client.receive_some() == b"second"
            assert trio.current_time() - begun_s >= 0.3
            await pair.server.send_all(b"third")
            assert await pair.client.receive_some() == b"third"
            assert trio.current_time() - begun_s < 3.0
            assert nemesis.messages_awaited("gateway", ALICE) == 0
            assert nemesis.messages_awaited(ALICE, "gateway") == 1, "it never came"
            nursery.cancel_scope.cancel()

    on_a_wire(test)


def test_a_message_between_hosts_is_held_by_the_deployment() -> None:
    """Where a target has no means to, the trace is not expressible there."""
    nemesis, deeds = a_nemesis()
    nemesis.hold_message("agents", "redis", 3, 0.5)
    assert deeds == [Deed("hold-message", ("agents", "redis"), seconds=0.5, nth=3)]
    late = Plan(Setting(), (Step(Do("connect", 0), deviations=(Hold("agents", "redis", 3, 0.5),)),))
    assert (
        inexpressible(late, Target({}, (ByStaging("127.0.0.1:1", Credential(env="K"), (), ("agents->redis",)),))) == []
    )
    (problem,) = inexpressible(late, Target({}, (ByToxiproxy("http://127.0.0.1:1", {"agents->redis": "r"}),)))
    assert problem.startswith("step 1 (the 3rd message from agents to redis")
    assert problem.endswith(": Toxiproxy reads no messages")


# Who connects into a partition


def test_a_user_who_connects_into_a_partition_hangs_until_it_ends_or_takes_the_next_address() -> None:
    """What a client does meanwhile is what it does where SYNs are lost, and no more."""

    async def main() -> None:
        with trio.fail_after(10.0):
            async with trio.open_nursery() as nursery:
                (listener,) = await nursery.start(partial(trio.serve_tcp, trio.aclose_forcefully, 0, host="127.0.0.1"))
                address = f"127.0.0.1:{listener.socket.getsockname()[1]}"
                target = Target(dict.fromkeys(("redis", "a", "b"), HostTarget(address)))
                names = LiveNames(target, HOSTS, [ALICE], nursery)
                trio.socket.set_custom_hostname_resolver(names)
                trio.socket.set_custom_socket_factory(LiveSockets(names.proxy_at))
                on_host(ALICE)
                port = free_port()
                proxy = names.user_proxies[ALICE, "a"]
                proxy.hold(Direction.TO_CLIENT)
                with trio.move_on_after(0.2):
                    raise AssertionError(f"connected: {await trio.open_tcp_stream('a', port)}")
                (await trio.open_tcp_stream("gateway", port)).socket.close()
                begun_s = trio.current_time()
                nursery.start_soon(release_after, proxy, 0.3)
                (await trio.open_tcp_stream("a", port)).socket.close()
                assert 0.3 <= trio.current_time() - begun_s < 3.0
                nursery.cancel_scope.cancel()

    trio.run(main)


async def release_after(proxy: Proxy, seconds: float) -> None:
    await trio.sleep(seconds)
    proxy.release(Direction.TO_CLIENT)
