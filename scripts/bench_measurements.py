"""The measurements by name: each takes its samples and its references in turns, and yields lines."""

import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import trio
import trio.testing
from trio_websocket import serve_websocket

from models.system import QUESTIONS, deployed, system
from scripts import bench_programs as programs
from scripts.bench_lines import Effort, Line, line, seconds
from simulator.campaign import Budget, Campaign
from simulator.errors import EnvironmentFailedError, SystemFailedError
from simulator.live.redis import RedisServer
from simulator.load.arrivals import plan_of
from simulator.load.profile import Load
from simulator.load.simulated import simulate_load
from simulator.plan import Do, Setting, Step, Wait
from simulator.simulated_run import SimulatedRun
from simulator.world import World

__all__ = ["MEASUREMENTS", "SIMLOOP_VARIABLE"]

SIMLOOP_VARIABLE: Final = "WAVETANK_BENCH_SIMLOOP"
PORT = 7
REDIS_COMMANDS = (b"SET key value\r\n", b"GET key\r\n")
STORM = 1  # any weather but 0


def world(effort: Effort) -> Iterator[Line]:
    """A world, made and closed; reference: an empty trio.run."""

    async def nothing() -> None:
        pass

    def open_and_close() -> None:
        World().close()

    def milliseconds(action: Callable[[], object]) -> float:
        return 1000 * seconds(action)

    samplers = {
        "world": partial(milliseconds, open_and_close),
        "run": partial(milliseconds, partial(trio.run, nothing)),
    }
    taken = Effort(repeat=effort.count(300)).in_turns("world", samplers)
    yield line(
        "world", "ms", taken["world"], taken["run"], aim=1.0, note="aim: value at most; reference: an empty trio.run"
    )


def switches(effort: Effort) -> Iterator[Line]:
    """100 tasks that give way 1000 times each, in calm and in stormy weather; reference: plain trio.run."""
    tasks, checkpoints = 100, effort.count(1000)

    def in_world(weather: int) -> float:
        with World() as tank:
            tank.add_host("host")
            tank.weather.change(weather)
            program = partial(programs.switch, tasks, checkpoints)
            return tasks * checkpoints / seconds(lambda: tank.run(program, host="host"))

    samplers: dict[str, Callable[[], float]] = {
        "calm": partial(in_world, 0),
        "stormy": partial(in_world, STORM),
        "plain": partial(_plain_switches_per_s, tasks, checkpoints),
    }
    taken = effort.in_turns("switches", samplers)
    note = "aim: ratio at least; reference: trio.run as Trio ships (without Hypothesis's plugin)"
    yield line("switches-calm", "switches/s", taken["calm"], taken["plain"], aim=0.8, note=note)
    yield line("switches-stormy", "switches/s", taken["stormy"], taken["plain"], aim=0.45, note=note)


def _plain_switches_per_s(tasks: int, checkpoints: int) -> float:
    return tasks * checkpoints / seconds(lambda: trio.run(programs.switch, tasks, checkpoints))


def _machine_speed() -> float:
    """Thousands of plain switches per second: the yardstick of what has no counterpart outside the simulation."""
    return _plain_switches_per_s(100, 200) / 1000


def echo(effort: Effort) -> Iterator[Line]:
    """10 clients with 50 TCP echoes each, 1 to 50 ms away; references: real loopback, and simloop if given."""
    clients, echoes = 10, effort.count(50)
    samplers: dict[str, Callable[[], float]] = {
        "world": lambda: clients * echoes / seconds(partial(_echo_in_world, clients, echoes)),
        "loopback": lambda: clients * echoes / seconds(partial(trio.run, _echo_for_real, clients, echoes)),
    }
    interpreter = os.environ.get(SIMLOOP_VARIABLE)
    if interpreter:
        samplers["simloop"] = partial(_echo_in_simloop, interpreter, clients, echoes)
    taken = effort.in_turns("echo", samplers)
    yield line(
        "echo",
        "echoes/s",
        taken["world"],
        taken["loopback"],
        note="stormy, latency drawn per link and message; reference: the same program on loopback sockets, no latency",
    )
    yield line(
        "echo-simloop",
        "echoes/s",
        taken["world"],
        taken.get("simloop", ()),
        note=f"reference: scripts/bench_simloop.py run by {interpreter}"
        if interpreter
        else f"no reference: `pip install simloop` in a Python 3.12 environment and name it in {SIMLOOP_VARIABLE}",
    )


def _echo_in_world(clients: int, echoes: int) -> None:
    drawn = random.Random(1)
    with World(seed=1) as tank:
        tank.weather.change(STORM)  # adds a few milliseconds to most messages, now and then more
        tank.add_host("server", partial(trio.serve_tcp, programs.echo, PORT))
        asking = []
        for number in range(clients):
            client = f"client{number}"
            tank.add_host(client)
            tank.slow(client, "server", drawn.uniform(0.0, 0.045))
            tank.slow("server", client, drawn.uniform(0.0, 0.045))
            asking.append(tank.start(partial(programs.ask_echoes, "server", PORT, echoes), host=client))
        while not all(call.done for call in asking):
            tank.advance(1.0)
        for call in asking:
            call.result()


async def _echo_for_real(clients: int, echoes: int) -> None:
    async with trio.open_nursery() as serving:
        listeners: list[trio.SocketListener] = await serving.start(
            partial(trio.serve_tcp, programs.echo, 0, host="127.0.0.1")
        )
        port: int = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as asking:
            for _ in range(clients):
                asking.start_soon(programs.ask_echoes, "127.0.0.1", port, echoes)
        serving.cancel_scope.cancel()


def _echo_in_simloop(interpreter: str, clients: int, echoes: int) -> float:
    script = str(Path(__file__).with_name("bench_simloop.py"))
    try:
        ran = subprocess.run(
            [interpreter, script, str(clients), str(echoes)], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise EnvironmentFailedError(f"{SIMLOOP_VARIABLE} names no interpreter that can be run: {error}.") from error
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or [""])[-1]
        raise EnvironmentFailedError(
            f"{interpreter}, named by {SIMLOOP_VARIABLE}, could not run the echo under simloop: {last}. "
            "It needs Python 3.12 and `pip install simloop`."
        )
    return float(ran.stdout)


def websocket(effort: Effort) -> Iterator[Line]:
    """500 WebSocket echoes with trio-websocket; reference: real loopback."""
    echoes = effort.count(500)

    def in_world() -> None:
        with World() as tank:
            server = partial(serve_websocket, programs.websocket_echo, None, PORT, ssl_context=None)
            tank.add_host("server", server)
            tank.add_host("client")
            tank.run(partial(programs.ask_websocket_echoes, "server", PORT, echoes), host="client")

    async def for_real() -> None:
        async with trio.open_nursery() as serving:
            server = partial(serve_websocket, programs.websocket_echo, "127.0.0.1", 0, ssl_context=None)
            served = await serving.start(server)
            await programs.ask_websocket_echoes("127.0.0.1", served.port, echoes)
            serving.cancel_scope.cancel()

    samplers = {
        "world": lambda: echoes / seconds(in_world),
        "loopback": lambda: echoes / seconds(partial(trio.run, for_real)),
    }
    taken = effort.in_turns("websocket", samplers)
    yield line(
        "websocket",
        "echoes/s",
        taken["world"],
        taken["loopback"],
        note="calm, one client, latency 1 ms; reference: the same program on loopback sockets",
    )


def timers(effort: Effort) -> Iterator[Line]:
    """100 tasks that sleep a simulated second 3600 times each; reference: Trio's own MockClock."""
    tasks, times = 100, effort.count(3600)

    def in_world() -> float:
        with World() as tank:
            tank.add_host("host")
            return seconds(lambda: tank.run(partial(programs.sleep, tasks, times), host="host"))

    def in_mock_clock() -> float:
        clock = trio.testing.MockClock(autojump_threshold=0)
        return seconds(lambda: trio.run(programs.sleep, tasks, times, clock=clock))

    samplers = {"world": in_world, "mock": in_mock_clock}
    taken = effort.in_turns("timers", samplers, repeat=3, warm_up=False)
    note = "reference: trio.run with trio.testing.MockClock(autojump_threshold=0)"
    yield line("timers", "s", taken["world"], taken["mock"], note=f"{tasks * times} timers, calm; {note}")
    speeds = {sampler: [times / sample for sample in samples] for sampler, samples in taken.items()}
    yield line("timers-speed", "simulated s/s", speeds["world"], speeds["mock"], note=note)


def check(effort: Effort) -> Iterator[Line]:
    """The default check, 40 runs of the chat platform with a fixed seed."""
    runs, seed = effort.count(40), 7
    simulated_per_s: list[float] = []

    def campaign() -> float:
        done = Campaign(system, budget=Budget(runs=runs), seed=seed).run()
        if done.interrupted:  # a campaign keeps what it has; a measurement has nothing to keep
            raise KeyboardInterrupt
        if done.failure is not None or not done.statistics.runs:
            raise SystemFailedError(
                f"the check to be measured found a failure, so its speed means nothing. "
                f"Try: scripts/check --runs {runs} --seed {seed}"
            )
        simulated_per_s.append(done.statistics.simulated_s / done.statistics.search_s)
        return done.statistics.runs / done.statistics.search_s

    taken = effort.in_turns("check", {"check": campaign, "machine": _machine_speed}, repeat=3)
    note = "reference: thousands of plain trio.run switches per second, so that machines and moments can be compared"
    yield line("check", "runs/s", taken["check"], taken["machine"], note=note)
    counted = simulated_per_s[-len(taken["check"]) :]  # without the warm-up
    yield line("check-speed", "simulated s/s", counted, taken["machine"], note=note)


def message(effort: Effort) -> Iterator[Line]:
    """One message through the whole platform: acknowledged, stored, answered, and its analytics written."""
    asks = effort.count(200)
    few = max(1, asks // 10)

    def milliseconds(weather: int, count: int) -> float:
        with SimulatedRun(system, Setting()) as run:
            run.apply(Step(Do("connect", 0), after_s=1.0))
            question = Do("ask", 0, {"question": QUESTIONS[0], "thread": 1})
            run.apply(Step(question, after_s=2.0))  # connections are made and the LLM's answer is cached
            steps = [Step(question, after_s=0.2, weather=weather * number) for number in range(1, count + 1)]

            def ask() -> None:
                for step in steps:
                    run.apply(step)

            taken_ms = 1000 * seconds(ask)
            run.apply(Step(Wait(), after_s=2.0))  # in a storm the last ones may be late
            if pending := run.pending():
                raise SystemFailedError(f"a message was not through in 2 s, so its cost is not known: {pending[0]}.")
            return taken_ms

    samplers: dict[str, Callable[[], float]] = {
        "calm": lambda: milliseconds(0, asks) / asks,
        "stormy": lambda: milliseconds(STORM, asks) / asks,
        "few": lambda: milliseconds(0, few) / few,
        "switches": lambda: 1000 / _machine_speed(),  # ms for a thousand
    }
    taken = effort.in_turns("message", samplers)
    note = "per ask on one connection, latency 1 ms"
    switching = "reference: a thousand plain trio.run switches"
    yield line("message", "ms", taken["calm"], taken["switches"], note=f"{note}, calm; {switching}")
    yield line("message-stormy", "ms", taken["stormy"], taken["calm"], note=f"{note}; reference: in calm weather")
    growth = f"{asks} asks; reference: {few} asks; the aim is about the ratio: ten times as many cost at most 11 times"
    yield line("message-growth", "ms", taken["calm"], taken["few"], aim=1.1, note=f"{note}; {growth}")


def load(effort: Effort) -> Iterator[Line]:
    """Many users for a while, a message a minute each, and ten who write more, for longer: what more of each costs."""
    while_s, promises = 120 * effort.scale, deployed.all_properties()

    def loaded(users: int, for_s: float, per_minute: float) -> float:
        asked = Load(users=users, per_minute=per_minute, duration=for_s, arrive_within=min(12.0, for_s / 2))
        plan = plan_of(asked, deployed.mix, deployed.arrival, seed=1, latency_s=0.001)
        return seconds(lambda: simulate_load(deployed, plan, for_s, promises, lambda _steps, _now_s: None))

    samplers: dict[str, Callable[[], float]] = {
        "many": lambda: loaded(100, while_s, 1.0),
        "few": lambda: loaded(10, while_s, 1.0),
        "long": lambda: loaded(10, 5 * while_s, 6.0) / 5,
        "short": lambda: loaded(10, while_s, 6.0),
        "switches": lambda: 1000 / _machine_speed(),  # s for a million
    }
    taken = effort.in_turns("load", samplers, repeat=3)
    note = f"real s for {while_s:g} simulated s"
    yield line(
        "load", "s", taken["many"], taken["switches"], note=f"{note}, 100 users; reference: a million plain switches"
    )
    yield line(
        "load-users",
        "s",
        taken["many"],
        taken["few"],
        aim=11.0,
        note=f"{note}, 100 users; reference: 10; aim: ratio at most",
    )
    yield line(
        "load-growth",
        "s",
        taken["long"],
        taken["short"],
        aim=1.1,
        note=f"{note}, 10 users at 6 a minute, of five times as many; reference: of these; aim: ratio at most",
    )


def proxy(effort: Effort) -> Iterator[Line]:
    """A Redis command through a live fault proxy that knows its messages; reference: straight to the server."""
    count = effort.count(2000)
    with RedisServer() as server:
        command = [sys.executable, "-m", "scripts.bench_proxy", str(server.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            ports = {"proxied": port, "straight": server.port}
            samplers = {name: partial(_command_us, each, count) for name, each in ports.items()}
            taken = effort.in_turns("proxy", samplers)
            process.communicate()
    added = [proxied - straight for proxied, straight in zip(taken["proxied"], taken["straight"], strict=True)]
    yield line("proxy", "us", taken["proxied"], taken["straight"], note="a SET or GET at the median")
    yield line("proxy-added", "us", added, aim=150.0, note="aim: value at most; what the proxy adds to a SET or GET")


def _command_us(port: int, count: int) -> float:
    """Return how long a Redis command takes at the median, in microseconds."""
    taken_s = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(count):
            begun_s = time.perf_counter()
            connection.sendall(REDIS_COMMANDS[number % 2])
            connection.recv(100)
            taken_s.append(time.perf_counter() - begun_s)
    return 1e6 * statistics.median(taken_s)


MEASUREMENTS: Final[dict[str, Callable[[Effort], Iterator[Line]]]] = {
    each.__name__: each for each in (world, switches, echo, websocket, timers, check, message, load, proxy)
}
