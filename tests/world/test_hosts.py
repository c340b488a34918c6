"""Hosts that crash, restart and end: what the rest of the world sees of it, and what it must not see."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from simulator.world import World, current_host
from tests.world.stage import PORT, Ending, echo, receive_exactly, receive_until_end, serve, world_with

Program = Callable[[], Awaitable[object]]


class Peer:
    """A client that holds one connection to the server and notes how it ended, and when."""

    stream: trio.SocketStream

    def __init__(self, world: World, host: str = "c0") -> None:
        self.world = world
        self.got = b""
        self.end: str | None = None
        self.end_s: float | None = None
        world.start(self.run, host=host)
        world.advance(0.01)

    async def run(self) -> None:
        try:
            self.stream = await trio.open_tcp_stream("server", PORT)
            await self.stream.send_all(b"x")
            while data := await self.stream.receive_some():
                self.got += data
            self.end = "end"
        except (OSError, trio.BrokenResourceError):
            self.end = "reset"
        finally:
            self.end_s = self.world.now_s


async def say_goodbye_at_the_end(stream: trio.SocketStream) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await stream.send_all(b"goodbye")
            await stream.send_eof()


@pytest.mark.parametrize(("silently", "end"), [(False, "reset"), (True, None)])
def test_clean_up_of_a_crashed_host_runs_and_is_seen_by_nobody(silently, end):
    """`finally` blocks belong to the dead: peers see a reset, or nothing at all, but never their goodbye."""
    ran = []

    async def handler(stream):
        try:
            await say_goodbye_at_the_end(stream)
        finally:
            ran.append("clean-up")

    with world_with(serve(handler)) as world:
        peer = Peer(world)
        crashed_s = world.now_s
        world.crash("server", silently=silently)
        world.advance(60)
        assert ran == ["clean-up"]
        assert (peer.got, peer.end) == (b"", end)
        if end is not None:
            assert peer.end_s == pytest.approx(crashed_s + 0.001)


def test_sockets_are_cut_before_the_disk_is_told_and_before_tasks_are_cancelled():
    """The order is the definition of a crash: sockets, unsynced data, tasks; all at one instant."""
    order = []

    async def main():
        try:
            await trio.serve_tcp(echo, PORT)
        finally:
            order.append(("tasks", world.now_s))

    def on_crash():
        assert ("server", PORT) not in world.network._listeners
        order.append(("disk", world.now_s))

    with World() as world:
        world.add_host("server", main, on_crash)
        world.advance(5)
        world.crash("server")
        assert order == [("disk", 5.0)]
        world.advance(1)
        assert order == [("disk", 5.0), ("tasks", 5.0)]


def test_a_restart_begins_main_afresh_and_old_connections_stay_dead():
    """What is sent on a connection of a former life draws a reset."""
    lives = []

    async def main():
        lives.append(current_host().number)
        await trio.serve_tcp(echo, PORT)

    with world_with(main) as world:
        peer = Peer(world)
        world.crash("server", silently=True)
        world.advance(10)
        world.restart("server")
        world.advance(10)
        assert (lives, peer.end) == ([1, 2], None)
        again = Peer(world)
        assert again.got == b"x"

        async def send():
            await peer.stream.send_all(b"y")

        world.run(send, host="c0")
        world.advance(0.01)
        assert peer.end == "reset"


def test_a_request_that_a_silent_crash_swallowed_draws_a_reset_after_the_restart():
    """TCP sends it again, and the new life knows nothing of the connection."""
    with world_with() as world:
        peer = Peer(world)
        world.crash("server", silently=True)

        async def send():
            await peer.stream.send_all(b"y")

        world.run(send, host="c0")
        world.advance(10)
        assert peer.end is None
        world.restart("server")
        world.advance(1)
        assert peer.end == "reset"


@pytest.mark.parametrize(("silently", "end"), [(False, "reset"), (True, None)])
def test_connecting_to_a_crashed_host(silently, end):
    """A dead program's kernel refuses; a dead machine says nothing, and answers once it is back."""
    with world_with() as world:
        world.crash("server", silently=silently)
        peer = Peer(world)
        world.advance(10)
        assert peer.end == end
        world.restart("server")
        world.advance(1)
        assert peer.got == (b"x" if silently else b"")


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("shielded", [False, True])
@pytest.mark.parametrize("after_s", [0.0005, 0.0015])
def test_a_client_that_crashes_while_connecting_leaves_no_living_connection(silently, shielded, after_s):
    """Its packet may arrive after its death: the server must not see an orderly end, nor any data."""
    seen: list[object] = []

    async def handler(stream):
        try:
            seen.append(await receive_until_end(stream))
        except trio.BrokenResourceError:
            seen.append("reset")

    async def client():
        with trio.CancelScope(shield=shielded):
            stream = await trio.open_tcp_stream("server", PORT)
            await stream.send_all(b"from the dead")

    with world_with(serve(handler)) as world:
        call = world.start(client, host="c0")
        world.advance(after_s)
        world.crash("c0", silently=silently)
        world.restart("c0")
        world.advance(300)
        assert call.done
        assert seen == (["reset"] if after_s > 0.001 and not silently else [])


def test_a_host_that_crashes_while_accepting_and_sending_is_gone_in_the_middle():
    """Whatever call it is in, its peer gets a prefix of what was sent and then a reset."""

    async def pour(stream):
        while True:
            await stream.send_all(bytes(100_000))

    with world_with(serve(pour)) as world:
        peer = Peer(world)
        world.crash("server")
        world.advance(1)
        assert peer.end == "reset"
        assert len(peer.got) > 100_000
        assert world.network.count_connections() == 0


def test_a_call_dies_with_its_host():
    """Its caller gets an ordinary error, not Trio's cancellation."""

    async def forever():
        await trio.sleep_forever()

    async def stubborn():
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return "I survived"

    with world_with() as world:
        calls = [world.start(forever, host="c0"), world.start(stubborn, host="c0")]
        world.advance(1)
        world.crash("c0")
        world.advance(0)
        for call in [*calls, world.start(forever, host="c0")]:
            assert call.done
            with pytest.raises(ConnectionAbortedError, match="c0 went down"):
                call.result()


def test_crashes_of_one_host_nest():
    """Two overlapping crash faults: the end of the first must not undo the second."""
    lives = []

    async def main():
        lives.append(current_host().number)
        await trio.sleep_forever()

    with world_with(main) as world:
        world.crash("server")
        world.crash("server")
        world.restart("server")
        world.advance(1)
        assert not world.hosts["server"].up
        world.restart("server")
        world.restart("server")  # one too many: nothing happens
        world.advance(1)
        world.crash("server")
        world.restart("server")
        world.advance(1)
        assert lives == [1, 2, 3]


def test_a_host_that_crashes_before_it_ran_never_runs():
    """A restart and a crash may fall on one instant."""
    lives = []

    async def main():
        lives.append(current_host().number)
        await trio.sleep_forever()

    with world_with(main) as world:

        def restart_and_crash():
            world.restart("server")
            world.crash("server")

        world.crash("server")
        world.clock.call_after(1, restart_and_crash)
        world.advance(2)
        assert lives == [1]
        assert not world.hosts["server"].up
        world.restart("server")
        world.advance(1)
        assert lives == [1, 3]


def test_a_call_can_be_started_on_a_host_at_the_instant_of_its_restart():
    """The world may stand still between the restart and the host's first step."""

    async def tell():
        return current_host().number

    with world_with() as world:

        async def restart():
            world.crash("server")
            world.restart("server")

        world.run(restart, host="c0")
        assert world.run(tell, host="server") == 2


def test_a_restart_does_not_wait_for_shielded_clean_up_of_the_former_life():
    """Old and new overlap: the old one can neither use the network nor close what is the new one's."""
    errors = []

    async def main():
        try:
            await trio.serve_tcp(echo, PORT)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(10)
                try:
                    await trio.open_tcp_stream("c0", PORT)
                except OSError as error:
                    errors.append(error)
                try:
                    await trio.open_tcp_listeners(PORT + 1)
                except OSError as error:
                    errors.append(error)

    with world_with(main) as world:
        world.crash("server")
        world.advance(1)
        world.restart("server")
        world.advance(1)
        assert Peer(world).got == b"x"
        world.advance(20)
        assert len(errors) == 2
        assert Peer(world).got == b"x"


def failing(error: BaseException) -> Program:
    async def main():
        (listener,) = await trio.open_tcp_listeners(PORT)
        held = [await listener.accept()]  # nobody closes it: the kernel of the ended process does
        await held[0].send_all(b"x")
        await trio.sleep(1)
        raise error

    return main


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)])
def test_a_main_that_raises_or_exits_is_a_failure_and_its_connections_are_reset(error):
    """A process that ends so is down until it is restarted; the world goes on."""
    with world_with(failing(error)) as world:
        peer = Peer(world)
        world.advance(2)
        assert peer.end == "reset"
        ((host, message),) = world.failures
        assert host == "server"
        assert type(error).__name__ in message
        assert not world.hosts["server"].up
        world.restart("server")
        world.advance(0.1)
        assert Peer(world).got == b"x"


def test_a_host_that_failed_and_is_then_crashed_comes_back_with_the_end_of_the_crash():
    """The failure by itself is nothing that a fault's end could undo twice."""
    with world_with(failing(ValueError())) as world:
        world.advance(2)
        world.crash("server")
        world.restart("server")
        assert world.hosts["server"].up


def test_a_main_that_returns_leaves_the_host_up():
    """A script that ends is no failure, and calls can still run there."""

    async def main():
        await trio.sleep(1)

    async def tell():
        return current_host().host.name

    with world_with(main) as world:
        world.advance(2)
        assert world.failures == []
        assert world.run(tell, host="server") == "server"


@pytest.mark.parametrize(("unread", "end"), [(b"", "end"), (b"never read", "reset")])
def test_a_main_that_returns_has_its_connections_closed_in_order(unread, end):
    """A process that ended: what it had sent arrives, then the end; a reset only where it left something unread."""

    async def main():
        (listener,) = await trio.open_tcp_listeners(PORT)
        accepted = await listener.accept()  # nobody closes it, nor the listener: the kernel does
        await accepted.receive_some(1)
        await trio.sleep(1)
        await accepted.send_all(bytes(100_000))

    with world_with(main) as world:
        peer = Peer(world)
        if unread:
            world.run(lambda: peer.stream.send_all(unread), host="c0")
        queued = Peer(world)  # nobody will accept it
        world.advance(2)
        assert (len(peer.got), peer.end) == (100_000, end)
        assert queued.end == "reset"
        assert Peer(world).end == "reset"
        assert world.failures == []


@pytest.fixture
def ending():
    return Ending()


@pytest.fixture
def ended(ending):
    with world_with(ending.main, clients=2, on_terminate=ending.end) as world:
        yield world


async def half_close(peer: Peer) -> None:
    await peer.stream.send_eof()


def test_a_host_that_is_told_to_end_serves_what_it_has_and_is_then_down(ended, ending):
    """It drains: the old connection is served, a new one refused; nothing is back before the end of the fault."""
    old = Peer(ended)
    ended.terminate("server")
    new = Peer(ended)
    assert (old.got, old.end, new.end) == (b"x", None, "reset")
    assert ended.hosts["server"].up
    ended.run(partial(half_close, old), host="c0")
    ended.advance(1)
    assert (old.end, ending.told) == ("end", 1)
    assert not ended.hosts["server"].up
    assert Peer(ended).end == "reset"
    ended.relaunch("server")
    ended.advance(1)
    assert Peer(ended).got == b"x"
    assert (ended.hosts["server"].lives, ended.failures) == (2, [])


def test_a_host_that_does_not_end_in_time_is_crashed(ended, ending):
    """As an orchestrator does: SIGKILL after the time of grace, and a new process."""
    crashes = []
    ended.hosts["server"].on_crash = lambda: crashes.append(ended.now_s)
    stuck = Peer(ended)
    ended.terminate("server")
    ended.advance(5)
    assert (stuck.end, crashes) == (None, [])
    ended.relaunch("server")
    ended.advance(1)
    assert (stuck.end, len(crashes)) == ("reset", 1)
    assert Peer(ended).got == b"x"


def test_overlapping_terminations_and_crashes_end_with_the_last(ended, ending):
    """A life is told once, and a host that is down is told nothing."""
    ended.terminate("server")
    ended.terminate("server")
    ended.advance(1)
    ended.relaunch("server")
    ended.crash("server")
    ended.relaunch("server")
    ended.advance(1)
    assert not ended.hosts["server"].up
    ended.restart("server")
    ended.advance(1)
    assert (Peer(ended).got, ending.told) == (b"x", 1)
    ended.crash("server")
    ended.terminate("server")
    ended.restart("server")
    assert not ended.hosts["server"].up
    ended.relaunch("server")
    ended.advance(1)
    assert (Peer(ended).got, ending.told) == (b"x", 1)


def test_every_life_is_told_to_end_by_its_own_means(ended, ending):
    """What the former life was told must not end the next."""
    for told in (1, 2, 3):
        ended.terminate("server")
        ended.advance(1)
        assert ending.told == told
        assert not ended.hosts["server"].up
        ended.relaunch("server")
        ended.advance(1)
        peer = Peer(ended)
        assert peer.got == b"x"
        ended.run(partial(half_close, peer), host="c0")


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)])
def test_a_handler_of_the_end_that_raises_ends_its_host(error):
    """Its bug is a finding in the host's name, and no crash of the search."""
    seen = []

    def fail():
        seen.append(current_host().host.name)
        raise error

    with world_with(on_terminate=fail) as world:
        peer = Peer(world)
        world.terminate("server")
        world.advance(1)
        assert (seen, peer.end) == (["server"], "reset")
        ((host, message),) = world.failures
        assert host == "server"
        assert type(error).__name__ in message
        world.relaunch("server")
        world.advance(1)
        assert Peer(world).got == b"x"


def test_the_end_of_a_stream_waits_behind_a_partition(ended):
    """What a host sent before it ended arrives when packets pass again, though it is gone by then."""
    peer = Peer(ended)
    ended.run(partial(half_close, peer), host="c0")
    ended.advance(0.0005)
    ended.block("server", "c0")
    ended.terminate("server")
    ended.advance(1)
    assert not ended.hosts["server"].up
    assert peer.end is None
    ended.unblock("server", "c0")
    ended.advance(1)
    assert peer.end == "end"


def test_tasks_inherit_their_host_wherever_they_are_started_from():
    """A task started from a timer, or by another task's nursery, must not act in another host's name."""
    hosts = []

    async def tell():
        hosts.append(current_host().host.name)

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)

    with world_with(clients=2) as world:

        def start_main() -> None:
            world.start(main, host="c1")

        world.clock.call_after(1, start_main)
        world.run(main, host="c0")
        world.advance(2)
    assert hosts == ["c0", "c1"]


def test_crashing_all_hosts_at_once_leaves_nothing():
    """A power cut."""
    with world_with(clients=3) as world:
        peers = [Peer(world, f"c{number}") for number in range(3)]
        for name in list(world.hosts):
            world.crash(name)
        world.advance(1)
        assert world.waiting() == []
        assert world.network.count_connections() == 0
        assert [peer.got for peer in peers] == [b"x"] * 3


def test_echo_works_through_many_crashes():
    """Nothing accumulates from one life to the next."""

    async def client():
        async with await trio.open_tcp_stream("server", PORT) as stream:
            await stream.send_all(b"x")
            return await receive_exactly(stream, 1)

    with world_with() as world:
        for _ in range(20):
            assert world.run(client, host="c0") == b"x"
            world.crash("server")
            world.advance(1)
            world.restart("server")
        world.advance(1)
        assert world.network.count_connections() == 0
        assert len(world.waiting()) < 6


def test_what_a_program_has_is_counted() -> None:
    """Its tasks, and its open sockets by who is at their other end; what ended or was closed is not counted."""
    with world_with() as world:
        world.advance(0.1)
        before = world.tasks_of("server")
        assert world.sockets_of("server") == {"": 1}
        assert world.sockets_of("c0") == {}
        peer = Peer(world)
        assert world.tasks_of("server") > before
        assert world.sockets_of("server") == {"": 1, "c0": 1}
        assert world.sockets_of("c0") == {"server": 1}
        peer.stream.socket.close()
        world.advance(0.1)
        assert world.tasks_of("server") == before
        assert (world.sockets_of("server"), world.sockets_of("c0")) == ({"": 1}, {})
        world.crash("server")
        world.restart("server")
        world.advance(0.1)
        assert world.sockets_of("server") == {"": 1}
