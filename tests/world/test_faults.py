"""Faults of links: what each does to bytes under way, to established connections, and to new ones."""

import pytest
import trio

from simulator.fault import FAULT_KINDS, Fault
from simulator.world import World
from simulator.world.connection import WINDOW_BYTES
from simulator.world.network import CONNECT_TIMEOUT_S
from tests.world.stage import PORT, Ending, receive_exactly, serve, world_with


class Talk:
    """A client that numbers its messages, a server that answers each; what each side saw, and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.answers: list[int] = []
        self.ends: list[tuple[float, BaseException]] = []
        self.asked, self.asks = trio.open_memory_channel[bytes](1_000)
        world.start(self.client, host="c0")
        world.advance(0.01)

    async def client(self) -> None:
        try:
            async with await trio.open_tcp_stream("server", PORT) as stream, trio.open_nursery() as nursery:
                nursery.start_soon(self._send, stream)
                async for data in stream:
                    self.answers += list(data)
        except* (OSError, trio.BrokenResourceError) as group:
            self.ends.append((self.world.now_s, group))

    async def _send(self, stream: trio.SocketStream) -> None:
        async for data in self.asks:
            await stream.send_all(data)

    def send(self, data: bytes) -> None:
        self.asked.send_nowait(data)

    @property
    def broken_at_s(self) -> float | None:
        return self.ends[0][0] if self.ends else None


@pytest.fixture
def world():
    server = Ending()
    with world_with(server.main, clients=3, on_terminate=server.end) as opened:
        yield opened


def partition(world: World, one: str = "c0", other: str = "server") -> None:
    world.block(one, other)
    world.block(other, one)


def heal(world: World, one: str = "c0", other: str = "server") -> None:
    world.unblock(one, other)
    world.unblock(other, one)


@pytest.mark.parametrize("weather", [0, 1, 2])
def test_a_partition_keeps_bytes_back_and_hands_them_over_in_order(world, weather):
    """TCP sends again: a partition shorter than its patience is a delay."""
    talk = Talk(world)
    world.weather.change(weather)
    partition(world)
    for number in range(20):
        talk.send(bytes([number]))
        world.advance(0.01)
    assert talk.answers == []
    heal(world)
    world.advance(1)
    assert talk.answers == list(range(20))
    assert talk.ends == []


def test_what_was_under_way_when_a_partition_began_is_kept_back_too(world):
    """A packet that has left has not arrived."""
    talk = Talk(world)
    talk.send(b"\1")
    world.advance(0.0005)
    partition(world)
    world.advance(1)
    heal(world)
    partition(world)  # at once again, before anything could arrive
    world.advance(1)
    assert talk.answers == []
    heal(world)
    world.advance(1)
    assert talk.answers == [1]


def test_a_one_way_block_lets_the_other_way_through(world):
    """Asymmetric partitions break failure detectors."""
    got = []

    async def note(stream):
        got.append(await stream.receive_some())
        await stream.send_all(b"from the server")
        await trio.sleep_forever()

    world.add_host("noting", serve(note))
    answers = []

    async def client():
        stream = await trio.open_tcp_stream("noting", PORT)
        await stream.send_all(b"from the client")
        answers.append(await stream.receive_some())

    world.start(client, host="c0")
    world.advance(0.0025)
    world.block("noting", "c0")
    world.advance(1)
    assert (got, answers) == ([b"from the client"], [])
    world.unblock("noting", "c0")
    world.advance(1)
    assert answers == [b"from the server"]


@pytest.mark.parametrize(("source", "destination"), [("c0", "server"), ("server", "c0")])
def test_connecting_during_a_partition_completes_after_it(world, source, destination):
    """Whichever packet of the handshake was held."""
    world.block(source, destination)
    talk = Talk(world)
    talk.send(b"\1")
    world.advance(10)
    assert (talk.answers, talk.ends) == ([], [])
    world.unblock(source, destination)
    world.advance(1)
    assert talk.answers == [1]


def test_connecting_during_a_partition_that_lasts_times_out(world):
    """Two minutes, as on Linux, and nothing is left when it heals."""
    partition(world)
    talk = Talk(world)
    world.advance(CONNECT_TIMEOUT_S + 1)
    assert talk.broken_at_s == CONNECT_TIMEOUT_S
    heal(world)
    world.advance(1)
    assert world.network.count_connections() == 0


def test_a_reset_is_seen_by_both_sides_and_only_between_the_two(world):
    """Load balancers do that to connections they forgot."""
    ends = []

    async def note(stream):
        with pytest.raises(trio.BrokenResourceError) as caught:
            await stream.receive_some()
        ends.append(type(caught.value.__cause__).__name__)

    world.add_host("noting", serve(note))

    async def client():
        stream = await trio.open_tcp_stream("noting", PORT)
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        ends.append("client")

    talk = Talk(world)
    world.start(client, host="c0")
    world.advance(0.01)
    world.reset("c0", "noting")
    world.advance(0.01)
    assert sorted(ends) == ["ConnectionResetError", "client"]
    talk.send(b"\1")
    world.advance(0.01)
    assert talk.answers == [1]


def test_during_silence_nobody_is_told_and_after_it_a_send_draws_a_reset(world):
    """Half-open connections: the reason for heartbeats."""
    talk = Talk(world)
    world.silence("c0", "server")
    world.advance(60)
    assert talk.ends == []
    world.unsilence("c0", "server")
    world.advance(60)
    assert talk.ends == []  # nothing was sent: nobody knows
    talk.send(b"\1")
    world.advance(1)
    assert talk.broken_at_s == pytest.approx(world.now_s - 1 + 0.002)
    assert talk.answers == []


@pytest.mark.parametrize("sent", [b"\1", bytes(3 * WINDOW_BYTES)], ids=["a request", "more than the window"])
def test_what_was_sent_into_silence_draws_a_reset_when_packets_pass_again(world, sent):
    """TCP sends it again, so that a client without a time-out of its own does not wait for ever."""
    talk = Talk(world)
    world.silence("c0", "server")
    talk.send(sent)
    world.advance(10)
    assert talk.ends == []
    world.unsilence("c0", "server")
    world.advance(1)
    assert len(talk.ends) == 1


def test_connections_made_in_silence_complete_after_it(world):
    """New packets vanish as well, and are sent again."""
    world.silence("c0", "server")
    talk = Talk(world)
    talk.send(b"\1")
    world.advance(5)
    assert (talk.answers, talk.ends) == ([], [])
    world.unsilence("c0", "server")
    world.advance(1)
    assert talk.answers == [1]


def test_closing_with_unread_data_in_silence_tells_nobody(world):
    """A reset is a packet too."""
    ends = []

    async def rude(stream):
        await trio.sleep(5)
        await stream.aclose()

    world.add_host("rude", serve(rude))

    async def client():
        stream = await trio.open_tcp_stream("rude", PORT)
        await stream.send_all(b"never read")
        try:
            await stream.receive_some()
        finally:
            ends.append(world.now_s)

    world.start(client, host="c0")
    world.advance(1)
    world.silence("c0", "rude")
    world.advance(60)
    assert ends == []


def test_resets_wait_behind_a_partition(world):
    """A crash during a partition is not seen through it."""
    talk = Talk(world)
    partition(world)
    world.crash("server")
    world.advance(10)
    assert talk.ends == []
    heal(world)
    world.advance(1)
    assert len(talk.ends) == 1


def test_refusing_strikes_new_connections_only(world):
    """A full accept queue, or a firewall that was just changed."""
    old = Talk(world)
    world.refuse("c0", "server")
    world.refuse("c0", "server")
    new = Talk(world)
    old.send(b"\1")
    world.advance(0.1)
    assert old.answers == [1]
    assert len(new.ends) == 1
    world.admit("c0", "server")
    assert len(Talk(world).ends) == 1  # one of two overlapping faults goes on
    world.admit("c0", "server")
    assert Talk(world).ends == []


def test_slowness_adds_up_and_is_undone(world):
    """Overlapping faults do not undo each other."""
    talk = Talk(world)

    def round_trip_s() -> float:
        count, sent_s = len(talk.answers), world.now_s
        talk.send(b"\1")
        while len(talk.answers) == count:
            world.advance(0.001)
        return float(world.now_s - sent_s)

    world.slow("c0", "server", 0.3)
    world.slow("c0", "server", 0.3)
    assert round_trip_s() == pytest.approx(0.602, abs=0.002)
    world.slow("c0", "server", -0.3)
    assert round_trip_s() == pytest.approx(0.302, abs=0.002)
    world.slow("c0", "server", -0.3)
    assert round_trip_s() == pytest.approx(0.002, abs=0.002)


def test_overlapping_blocks_end_with_the_last(world):
    """A hold within a partition, a freeze within both."""
    talk = Talk(world)
    partition(world)
    world.block("c0", "server")
    world.freeze("server")
    talk.send(b"\1")
    for end in (lambda: heal(world), lambda: world.unblock("c0", "server")):
        end()
        world.advance(1)
        assert talk.answers == []
    world.thaw("server")
    world.advance(1)
    assert talk.answers == [1]


def test_freezing_holds_all_links_of_a_host_and_thawing_lets_them_go(world):
    """Also of hosts that came after the freeze began; a stopped process looks like that."""
    talk = Talk(world)
    world.freeze("server")
    world.add_host("late")
    answers = []

    async def client():
        async with await trio.open_tcp_stream("server", PORT) as stream:
            await stream.send_all(b"x")
            answers.append(await receive_exactly(stream, 1))

    world.start(client, host="late")
    talk.send(b"\1")
    world.advance(5)
    assert (talk.answers, answers) == ([], [])
    world.thaw("server")
    world.advance(1)
    assert (talk.answers, answers) == ([1], [b"x"])


@pytest.mark.parametrize("kind", list(FAULT_KINDS))
def test_after_every_kind_of_fault_the_network_is_as_before(world, kind):
    """An end undoes its beginning, also twice at once: a new connection works, at the nominal speed."""
    Talk(world)
    places = ("server",) if FAULT_KINDS[kind].strikes == 1 else ("c0", "server")
    fault = Fault(kind, places, 1.0)
    for _ in range(2):
        FAULT_KINDS[kind].begin(world, fault)
        world.advance(1)
    for _ in range(2):
        if (end := FAULT_KINDS[kind].end) is not None:
            end(world, fault)
        world.advance(1)
    talk = Talk(world)
    talk.send(b"\7")
    world.advance(0.003)
    assert talk.answers == [7]
