"""Each network fault of the proxy, on real loopback sockets, with both far ends in the test's hands."""

import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import pytest
import trio
import trio.testing

from simulator.errors import EnvironmentFailedError, InputError
from simulator.live.framing import Framing, chunks, framing_of
from simulator.live.link import CHUNK_BYTES
from simulator.live.proxy import BUFFER_BYTES_MAX, Direction, Proxy

PATIENCE_S = 10.0  # how long something that must happen may take
SILENCE_S = 0.1  # how long we listen to say that nothing comes
KERNEL_BYTES_MAX = 32 * 1024 * 1024  # more than the socket buffers of a connection ever hold

both_ways = pytest.mark.parametrize("direction", [Direction.TO_UPSTREAM, Direction.TO_CLIENT])


@attrs.frozen
class Pair:
    """The two far ends of one proxied connection."""

    client: trio.SocketStream
    server: trio.SocketStream

    def along(self, direction: Direction) -> tuple[trio.SocketStream, trio.SocketStream]:
        """Return who sends and who receives in a direction."""
        if direction is Direction.TO_UPSTREAM:
            return self.client, self.server
        return self.server, self.client


@attrs.frozen
class Wire:
    """A proxy in front of a server whose accepted connections the test receives."""

    proxy: Proxy
    accepted: trio.MemoryReceiveChannel[trio.SocketStream]
    closing: contextlib.AsyncExitStack

    async def dial(self, proxy: Proxy | None = None) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", (proxy or self.proxy).port)
        return await self.closing.enter_async_context(stream)

    async def connect(self) -> Pair:
        client = await self.dial()
        return Pair(client, await self.accepted.receive())


@contextlib.asynccontextmanager
async def a_wire(framing: Callable[[], Framing] = chunks) -> AsyncIterator[Wire]:
    sender, receiver = trio.open_memory_channel[trio.SocketStream](100)

    async def serve(stream: trio.SocketStream) -> None:
        await sender.send(stream)
        await trio.sleep_forever()

    async with contextlib.AsyncExitStack() as closing, trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, serve, [listener])
        proxy = Proxy(listener.socket.getsockname(), framing=framing)
        await nursery.start(proxy.run)
        yield Wire(proxy, receiver, closing)
        nursery.cancel_scope.cancel()


def on_a_wire(test: Callable[[Wire], Awaitable[None]], framing: Callable[[], Framing] = chunks) -> None:
    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            async with a_wire(framing) as wire:
                await test(wire)

    trio.run(main)


def on_a_wire_in_no_time(test: Callable[[Wire], Awaitable[None]]) -> None:
    """Real sockets and a clock that jumps: an hour passes as soon as nothing is left to do."""

    async def main() -> None:
        async with a_wire() as wire:
            await test(wire)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


async def receive(stream: trio.SocketStream, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        chunk = await stream.receive_some(count - len(got))
        assert chunk, f"the stream ended after {len(got)} of {count} bytes"
        got += chunk
    return bytes(got)


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.001)


async def wait_kept(wire: Wire, direction: Direction, count: int) -> None:
    await wait_until(lambda: wire.proxy.bytes_kept(direction) == count)


async def wait_reset(stream: trio.SocketStream) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await receive(stream, KERNEL_BYTES_MAX)


async def send_for_ever(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"anyone?")


async def assert_nothing_comes(stream: trio.SocketStream) -> None:
    with trio.move_on_after(SILENCE_S):
        raise AssertionError(f"came all the same: {await stream.receive_some()!r}")


async def assert_echoes(pair: Pair, message: bytes) -> None:
    await pair.client.send_all(message)
    assert await receive(pair.server, len(message)) == message
    await pair.server.send_all(message)
    assert await receive(pair.client, len(message)) == message


def reset_by_hand(stream: trio.SocketStream) -> None:
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


def blob(count: int) -> bytes:
    """Return bytes in which a shift or a swap shows."""
    return b"".join(index.to_bytes(4, "big") for index in range(count // 4))


def test_a_healthy_proxy_passes_bytes_and_counts_them():
    """Without faults the proxy must not be there, except for its figures."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        await pair.client.send_all(b"question")
        assert await receive(pair.server, 8) == b"question"
        await pair.server.send_all(b"answer")
        assert await receive(pair.client, 6) == b"answer"
        assert wire.proxy.connections == wire.proxy.connections_open == 1
        assert wire.proxy.bytes_passed(Direction.TO_UPSTREAM) == 8
        assert wire.proxy.bytes_passed(Direction.TO_CLIENT) == 6
        assert wire.proxy.bytes_passed(Direction.BOTH) == 14
        assert wire.proxy.bytes_kept(Direction.BOTH) == 0

    on_a_wire(test)


@both_ways
def test_a_half_close_is_passed_on_and_the_other_way_stays_open(direction):
    """Protocols that end a request with a half-close still wait for the answer."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        await sender.send_all(b"last words")
        await sender.send_eof()
        assert await receive(receiver, 10) == b"last words"
        assert await receiver.receive_some() == b""
        await receiver.send_all(b"answer")
        assert await receive(sender, 6) == b"answer"
        await receiver.send_eof()
        assert await sender.receive_some() == b""
        await wait_until(lambda: wire.proxy.connections_open == 0)

    on_a_wire(test)


@both_ways
def test_a_close_reaches_the_other_side_after_all_that_was_sent(direction):
    """A server that answers and closes must not lose the tail of its answer to a slow reader."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        sent = blob(BUFFER_BYTES_MAX // 2)
        wire.proxy.hold(direction)
        await sender.send_all(sent)
        await sender.aclose()
        wire.proxy.release(direction)
        assert await receive(receiver, len(sent)) == sent
        assert await receiver.receive_some() == b""

    on_a_wire(test)


@both_ways
def test_a_reset_by_one_side_reaches_the_other(direction):
    """A peer's crash is told as a failure, never as an orderly end."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        reset_by_hand(sender)
        await wait_reset(receiver)
        await wait_until(lambda: wire.proxy.connections_open == 0)

    on_a_wire(test)


def test_a_server_that_answers_a_client_who_is_gone_is_reset():
    """After a half-close nobody reads the client any more: only the failing answer can tell."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        await pair.client.send_eof()
        assert await pair.server.receive_some() == b""
        await pair.client.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(pair.server)
        await wait_until(lambda: wire.proxy.connections_open == 0)

    on_a_wire(test)


def test_a_client_is_reset_when_upstream_refuses():
    """A server that is down must look down through the proxy, not silent or orderly closed."""

    async def main() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            proxy = Proxy(nobody.getsockname())
            with trio.fail_after(PATIENCE_S):
                async with trio.open_nursery() as nursery:
                    await nursery.start(proxy.run)
                    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as client:
                        await wait_reset(client)
                    await wait_until(lambda: proxy.connections_open == 0)
                    nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_taken_port_is_an_environment_failure():
    """The user must learn which port is taken, and that it is not the system's fault."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailedError, match=f"port={port}"):
            trio.run(Proxy(("127.0.0.1", 1), port=port).run)


@pytest.mark.parametrize("undo", [Proxy.mend, Proxy.heal])
def test_a_cut_keeps_both_ways_back_until_it_is_undone(undo):
    """A partition loses nothing that TCP would retransmit after it."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.cut()
        wire.proxy.cut()
        for part in (b"one ", b"two ", b"three"):
            await pair.client.send_all(part)
            await pair.server.send_all(part)
        await wait_kept(wire, Direction.BOTH, 26)
        await assert_nothing_comes(pair.server)
        await assert_nothing_comes(pair.client)
        undo(wire.proxy)
        assert await receive(pair.server, 13) == b"one two three"
        assert await receive(pair.client, 13) == b"one two three"
        assert wire.proxy.bytes_kept(Direction.BOTH) == 0

    on_a_wire(test)


@both_ways
@pytest.mark.parametrize("fault", [Proxy.cut, Proxy.hold])
def test_one_direction_can_be_kept_back_while_the_other_flows(direction, fault):
    """A request that arrives while its answer does not is the fault that duplicates work."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        sender, receiver = pair.along(direction)
        fault(wire.proxy, direction)
        await sender.send_all(b"late")
        await receiver.send_all(b"in time")
        assert await receive(sender, 7) == b"in time"
        await wait_kept(wire, direction, 4)
        await assert_nothing_comes(receiver)
        wire.proxy.heal()
        assert await receive(receiver, 4) == b"late"

    on_a_wire(test)


def test_a_connection_made_during_a_cut_reaches_upstream_when_it_is_mended():
    """A client that connects into a partition is served late, with all it sent and its close."""

    async def test(wire: Wire) -> None:
        wire.proxy.cut()
        client = await wire.dial()
        await client.send_all(b"early")
        await client.send_eof()
        with trio.move_on_after(SILENCE_S):
            raise AssertionError(f"reached upstream: {await wire.accepted.receive()}")
        wire.proxy.mend()
        server = await wire.accepted.receive()
        assert await receive(server, 5) == b"early"
        assert await server.receive_some() == b""

    on_a_wire(test)


@pytest.mark.parametrize("undo", [Proxy.admit, Proxy.heal])
def test_refusing_turns_new_connections_away_and_leaves_present_ones(undo):
    """A listener that is gone (a deployment, a full backlog) is not a network that is gone."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        port = wire.proxy.port
        wire.proxy.refuse()
        wire.proxy.refuse()
        for _ in range(3):
            with pytest.raises(OSError, match="all attempts to connect"):
                await wire.dial()
        await assert_echoes(pair, b"still here")
        undo(wire.proxy)
        assert wire.proxy.port == port
        await assert_echoes(await wire.connect(), b"again")

    on_a_wire(test)


def test_a_reset_breaks_every_present_connection_on_both_sides_once():
    """After a reset both sides know; the next connection is as good as any."""

    async def test(wire: Wire) -> None:
        pairs = [await wire.connect() for _ in range(3)]
        wire.proxy.reset()
        for pair in pairs:
            await wait_reset(pair.client)
            await wait_reset(pair.server)
        assert wire.proxy.connections_open == 0
        await assert_echoes(await wire.connect(), b"new")
        assert wire.proxy.connections == 4

    on_a_wire(test)


@both_ways
def test_a_hold_covers_connections_made_later_and_their_close(direction):
    """A replay holds a message before it knows which connection will carry it."""

    async def test(wire: Wire) -> None:
        wire.proxy.hold(direction)
        wire.proxy.hold(direction)
        sender, receiver = (await wire.connect()).along(direction)
        await sender.send_all(b"held")
        await sender.send_eof()
        await wait_kept(wire, direction, 4)
        await assert_nothing_comes(receiver)
        wire.proxy.release(direction)
        assert await receive(receiver, 4) == b"held"
        assert await receiver.receive_some() == b""

    on_a_wire(test)


def test_a_held_reset_is_not_told_before_it_is_released():
    """In a partition the RST is lost as well: the other side goes on in ignorance."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.hold(Direction.TO_UPSTREAM)
        await pair.client.send_all(b"held")
        await wait_kept(wire, Direction.TO_UPSTREAM, 4)
        reset_by_hand(pair.client)
        await pair.server.send_all(b"to nobody")
        await wait_kept(wire, Direction.TO_CLIENT, 0)
        await assert_nothing_comes(pair.server)
        wire.proxy.release(Direction.TO_UPSTREAM)
        await wait_reset(pair.server)

    on_a_wire(test)


def test_chunks_under_a_delay_arrive_in_order_and_do_not_wait_for_each_other():
    """Latency is a property of the way, not of the throughput."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.delay(3600.0, jitter_s=60.0)
        started_at_s = trio.current_time()
        for index in range(20):
            await pair.client.send_all(b"%02d" % index)
            await wait_kept(wire, Direction.TO_UPSTREAM, 2 * (index + 1))
        assert await receive(pair.server, 40) == b"".join(b"%02d" % index for index in range(20))
        assert 3600.0 <= trio.current_time() - started_at_s < 3660.0 + 1.0

    on_a_wire_in_no_time(test)


@pytest.mark.parametrize("undo", [Proxy.heal, lambda proxy: proxy.delay(0.0)])
def test_undoing_a_delay_hastens_what_is_under_way(undo):
    """Healing must not leave the replay waiting for a latency that was drawn before."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.delay(3600.0)
        await pair.client.send_all(b"slow")
        await wait_kept(wire, Direction.TO_UPSTREAM, 4)
        await assert_nothing_comes(pair.server)
        undo(wire.proxy)
        assert await receive(pair.server, 4) == b"slow"
        await assert_echoes(pair, b"fast")

    on_a_wire(test)


def test_silence_swallows_everything_and_healing_resets():
    """Half-open connections are where systems without heartbeats wait for ever."""

    async def test(wire: Wire) -> None:
        talking, closing = await wire.connect(), await wire.connect()
        wire.proxy.hold(Direction.TO_UPSTREAM)
        await talking.client.send_all(b"on its way")
        await wait_kept(wire, Direction.TO_UPSTREAM, 10)
        wire.proxy.silence()
        wire.proxy.silence()
        wire.proxy.release(Direction.TO_UPSTREAM)
        await talking.client.send_all(b"anyone?")
        await talking.server.send_all(b"anyone?")
        await closing.client.aclose()
        for listening in (talking.client, talking.server, closing.server):
            await assert_nothing_comes(listening)
        await assert_echoes(await wire.connect(), b"the network itself is well")
        wire.proxy.heal()
        for listening in (talking.client, talking.server, closing.server):
            await wait_reset(listening)
        await wait_until(lambda: wire.proxy.connections_open == 1)

    on_a_wire(test)


def test_a_silenced_connection_takes_more_than_any_buffer():
    """A sender into a dead connection must not be told by backpressure, which is the proxy's doing."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.hold(Direction.TO_UPSTREAM)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.client.send_all, bytes(KERNEL_BYTES_MAX))
            await wait_until(lambda: wire.proxy.bytes_kept(Direction.TO_UPSTREAM) >= BUFFER_BYTES_MAX)
            wire.proxy.silence()
        assert wire.proxy.bytes_passed(Direction.TO_UPSTREAM) == 0

    on_a_wire(test)


@both_ways
def test_a_narrow_line_takes_as_long_as_its_bytes_do_and_saves_up_nothing(direction):
    """A slow mobile line delays even the first answer; and an idle one does not let the next burst through."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        wire.proxy.throttle(1000.0, direction=direction)
        for _ in range(2):
            started_at_s = trio.current_time()
            await sender.send_all(blob(2400))
            assert await receive(receiver, 2400) == blob(2400)
            assert trio.current_time() - started_at_s == pytest.approx(2.4, abs=0.1)
            await receiver.send_all(b"the other way is as wide as ever")
            await receive(sender, 32)
            assert trio.current_time() - started_at_s < 2.7
            await trio.sleep(60.0)

    on_a_wire_in_no_time(test)


@pytest.mark.parametrize("undo", [Proxy.heal, lambda proxy: proxy.throttle(float("inf"))])
def test_a_line_without_any_width_keeps_back_until_it_is_undone(undo):
    """What a stalled line has taken is delivered when it recovers."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.throttle(0.0)
        await pair.client.send_all(b"stalled")
        await wait_kept(wire, Direction.TO_UPSTREAM, 7)
        await assert_nothing_comes(pair.server)
        undo(wire.proxy)
        assert await receive(pair.server, 7) == b"stalled"
        await assert_echoes(pair, b"wide")

    on_a_wire(test)


@both_ways
def test_slices_arrive_one_by_one_and_are_whole_together(direction):
    """A parser that takes one read for one message fails at the first message that comes in two."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        wire.proxy.slice(100, variation_bytes=20, pause_s=1.0, direction=direction)
        started_at_s = trio.current_time()
        await sender.send_all(blob(1000))
        slices = [await receiver.receive_some()]
        while sum(map(len, slices)) < 1000:
            slices.append(await receiver.receive_some())
        assert b"".join(slices) == blob(1000)
        assert max(map(len, slices)) <= 120
        assert len(slices) - 1 <= trio.current_time() - started_at_s < len(slices)

    on_a_wire_in_no_time(test)


@pytest.mark.parametrize("undo", [Proxy.heal, lambda proxy: proxy.slice(0)])
def test_undoing_slices_does_not_pause_any_more(undo):
    """Healing must not leave the replay waiting for slices that were cut before."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.slice(10, pause_s=3600.0)
        await pair.client.send_all(blob(400))
        await receive(pair.server, 1)
        undo(wire.proxy)
        await pair.client.send_all(b"!")
        assert (await receive(pair.server, 400))[-1:] == b"!"

    on_a_wire(test)


@both_ways
def test_a_limit_passes_so_many_bytes_from_now_on_and_closes_both_sides(direction):
    """An answer cut in the middle, without any error, is what a client must not take for a whole one."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        await sender.send_all(b"before")
        assert await receive(receiver, 6) == b"before"
        for limit in (100, float("inf"), 7):  # the last one begins to count
            wire.proxy.limit_data(limit, direction=direction)
            await sender.send_all(b"1234")
            assert await receive(receiver, 4) == b"1234"
        wire.proxy.limit_data(10, direction=direction)
        await receiver.send_all(b"answer")
        assert await receive(sender, 6) == b"answer"
        await sender.send_all(b"5678901")
        assert await receive(receiver, 6) == b"567890"
        assert await receiver.receive_some() == b""
        assert await sender.receive_some() == b""
        await wait_until(lambda: wire.proxy.connections_open == 0)

    on_a_wire(test)


@both_ways
@pytest.mark.parametrize("undo", [Proxy.deliver, lambda proxy, _: proxy.heal()], ids=["deliver", "heal"])
def test_what_flows_in_one_direction_is_lost_and_its_close_is_not(direction, undo):
    """A route that is lost one way only: each side hears of the other what it would never have asked for."""

    async def test(wire: Wire) -> None:
        closing, lasting = await wire.connect(), await wire.connect()
        wire.proxy.discard(direction)
        new = await wire.connect()
        sender, receiver = lasting.along(direction)
        await sender.send_all(b"lost")
        await receiver.send_all(b"arrives")
        assert await receive(sender, 7) == b"arrives"
        wire.proxy.delay(0.0)  # which hastens what is kept, and must not hasten an end that is not due
        await assert_nothing_comes(receiver)
        await closing.along(direction)[0].send_eof()
        assert await closing.along(direction)[1].receive_some() == b""
        undo(wire.proxy, direction)
        for stream in (receiver, sender, new.client, new.server):
            assert await stream.receive_some() == b""
        await assert_echoes(await wire.connect(), b"found again")

    on_a_wire(test)


def test_a_connection_that_is_lost_is_closed_when_nothing_comes_for_so_long():
    """A middlebox forgets what is idle; whoever keeps sending is not idle."""

    async def test(wire: Wire) -> None:
        wire.proxy.discard(Direction.TO_UPSTREAM, timeout_s=10.0)
        started_at_s = trio.current_time()
        pair = await wire.connect()
        await trio.sleep(7.0)
        await pair.client.send_all(b"lost")
        assert await pair.server.receive_some() == b""
        assert 17.0 <= trio.current_time() - started_at_s < 18.0
        assert await pair.client.receive_some() == b""

    on_a_wire_in_no_time(test)


@both_ways
def test_the_next_bytes_end_a_connection_and_leave_idle_ones(direction):
    """A server that crashes at a request resets only who asked; what was there before is closed, as by Toxiproxy."""

    async def test(wire: Wire) -> None:
        present, idle = await wire.connect(), await wire.connect()
        wire.proxy.reset_on_data(0.0, direction=direction)
        new = await wire.connect()
        for pair in (present, new):
            await pair.along(direction)[0].send_all(b"lost")
        for stream in (present.client, present.server):
            assert await stream.receive_some() == b""
        for stream in (new.client, new.server):
            await wait_reset(stream)
        wire.proxy.reset_on_data(None, direction=direction)
        await assert_echoes(idle, b"unharmed")

    on_a_wire(test)


def test_hanging_up_closes_every_present_connection_on_both_sides():
    """An idle timeout of a load balancer is an orderly end that neither side has asked for."""

    async def test(wire: Wire) -> None:
        pairs = [await wire.connect() for _ in range(3)]
        wire.proxy.hang_up()
        for pair in pairs:
            assert await pair.client.receive_some() == b""
            assert await pair.server.receive_some() == b""
        await assert_echoes(await wire.connect(), b"new")

    on_a_wire(test)


def test_a_close_can_take_longer_than_the_bytes_before_it():
    """A server that waits for its clients to go must not wait for one whose close is late."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.delay(0.0, close_s=3600.0)
        await pair.client.send_all(b"last words")
        await pair.client.send_eof()
        assert await receive(pair.server, 10) == b"last words"
        await assert_nothing_comes(pair.server)
        wire.proxy.heal()
        assert await pair.server.receive_some() == b""

    on_a_wire(test)


@pytest.mark.parametrize(
    "fault",
    [
        lambda proxy: proxy.throttle(1.0),
        lambda proxy: proxy.slice(1, pause_s=3600.0),
        lambda proxy: proxy.limit_data(1),
        lambda proxy: proxy.discard(Direction.BOTH),
        lambda proxy: proxy.reset_on_data(0.0),
        lambda proxy: proxy.delay(3600.0),
        lambda proxy: proxy.hold(Direction.BOTH),
        lambda proxy: proxy.cut(),
        lambda proxy: proxy.refuse(),
    ],
    ids=["throttle", "slice", "limit_data", "discard", "reset_on_data", "delay", "hold", "cut", "refuse"],
)
def test_after_healing_a_connection_is_as_good_as_before_any_fault(fault):
    """A fault that outlives its replay spoils the next one."""

    async def test(wire: Wire) -> None:
        fault(wire.proxy)
        wire.proxy.heal()
        await assert_echoes(await wire.connect(), blob(4000))

    on_a_wire(test)


@both_ways
def test_a_reader_who_does_not_read_stops_the_sender_and_loses_nothing(direction):
    """The proxy's memory is bounded: backpressure must reach the sender as it does without a proxy."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        sent: list[bytes] = []
        is_full = False

        async def pour() -> None:
            while not is_full:
                sent.append(blob(CHUNK_BYTES) + b"%d" % len(sent))
                await sender.send_all(sent[-1])
            await sender.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pour)
            await wait_until(lambda: wire.proxy.bytes_kept(direction) >= BUFFER_BYTES_MAX)
            is_full = True
            with trio.move_on_after(SILENCE_S):
                await wait_until(lambda: wire.proxy.bytes_kept(direction) >= BUFFER_BYTES_MAX + CHUNK_BYTES)
                raise AssertionError("the buffer has no bound")
            assert b"".join([chunk async for chunk in receiver]) == b"".join(sent)

    on_a_wire(test)


def test_a_reset_loses_what_was_held():
    """Bytes of a connection that failed must never turn up at the other side later."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.hold(Direction.TO_UPSTREAM)
        await pair.client.send_all(b"lost")
        await wait_kept(wire, Direction.TO_UPSTREAM, 4)
        wire.proxy.reset()
        wire.proxy.release(Direction.TO_UPSTREAM)
        await wait_reset(pair.server)
        await wait_reset(pair.client)
        assert wire.proxy.bytes_passed(Direction.TO_UPSTREAM) == 0
        assert wire.proxy.bytes_kept(Direction.BOTH) == 0

    on_a_wire(test)


def test_a_reset_reaches_a_connection_that_waits_for_the_end_of_a_cut():
    """Upstream must never see a connection that its client already knows to be dead."""

    async def test(wire: Wire) -> None:
        wire.proxy.cut()
        client = await wire.dial()
        await wait_until(lambda: wire.proxy.connections == 1)
        wire.proxy.reset()
        await wait_reset(client)
        wire.proxy.mend()
        with trio.move_on_after(SILENCE_S):
            raise AssertionError(f"reached upstream: {await wire.accepted.receive()}")

    on_a_wire(test)


def test_a_hold_outlasts_the_cut_it_overlaps():
    """Faults compose: undoing one must not undo another in the same place."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.hold(Direction.TO_CLIENT)
        wire.proxy.cut()
        await pair.client.send_all(b"request")
        await pair.server.send_all(b"response")
        await wait_kept(wire, Direction.BOTH, 15)
        wire.proxy.mend()
        assert await receive(pair.server, 7) == b"request"
        await assert_nothing_comes(pair.client)
        wire.proxy.heal()
        assert await receive(pair.client, 8) == b"response"

    on_a_wire(test)


LINES = framing_of("resp")  # in both directions a line such as "+one" is a message


@both_ways
def test_one_message_is_held_with_what_follows_it_while_what_is_before_it_passes(direction):
    """The second reply is kept from its client, not half of the first; it may well come in one segment with it."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        hold = wire.proxy.hold_message(direction, nth=2)
        await sender.send_all(b"+1\r\n+22\r\n+3\r\n")
        await hold.wait_holding()
        assert hold.is_holding
        assert not hold.is_lost
        assert await receive(receiver, 4) == b"+1\r\n"
        await sender.send_all(b"+4\r\n")
        await wait_kept(wire, direction, 13)
        await receiver.send_all(b"the other direction flows")
        assert await receive(sender, 25) == b"the other direction flows"
        await assert_nothing_comes(receiver)
        hold.release()
        hold.release()
        assert await receive(receiver, 13) == b"+22\r\n+3\r\n+4\r\n"

    on_a_wire(test, LINES)


def test_messages_are_counted_over_all_connections_and_others_go_on():
    """Which connection carries the third reply is for the system to decide; the rest of it must go on meanwhile."""

    async def test(wire: Wire) -> None:
        early = await wire.connect()
        hold = wire.proxy.hold_message(Direction.TO_CLIENT, nth=3)
        late = await wire.connect()
        await assert_echoes(early, b"+1\r\n")
        await assert_echoes(late, b"+2\r\n")
        await early.server.send_all(b"+3\r\n")
        await hold.wait_holding()
        await assert_echoes(late, b"+4\r\n")
        await assert_echoes(await wire.connect(), b"+5\r\n")
        await assert_nothing_comes(early.client)
        hold.release()
        assert await receive(early.client, 4) == b"+3\r\n"
        await assert_echoes(early, b"+6\r\n")

    on_a_wire(test, LINES)


def test_a_message_is_held_as_a_whole_though_it_comes_in_segments():
    """Its first bytes are held before anybody knows how long it is."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        hold = wire.proxy.hold_message(Direction.TO_UPSTREAM)
        for segment in (b"*1\r", b"\n$4\r\nP", b"ING\r\n"):
            await pair.client.send_all(segment)
            await hold.wait_holding()
            await assert_nothing_comes(pair.server)
        hold.release()
        assert await receive(pair.server, 14) == b"*1\r\n$4\r\nPING\r\n"

    on_a_wire(test, LINES)


def test_a_message_that_has_begun_to_pass_is_not_held():
    """The connection was opened long before: the proxy must be in step with it when a hold comes."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        await pair.client.send_all(b"*1\r\n$8\r\n+ha")
        assert await receive(pair.server, 11) == b"*1\r\n$8\r\n+ha"
        hold = wire.proxy.hold_message(Direction.TO_UPSTREAM)
        await pair.client.send_all(b"\r\n+lf\r\n")
        assert await receive(pair.server, 7) == b"\r\n+lf\r\n"
        assert not hold.is_holding
        await pair.client.send_all(b"\r\n")  # an empty line: it belongs to what follows
        await hold.wait_holding()
        await pair.client.send_all(b"PING\r\n")
        await assert_nothing_comes(pair.server)

    on_a_wire(test, LINES)


@both_ways
def test_what_waits_behind_a_full_sink_can_still_be_held(direction):
    """It was received before the hold, but has not begun to pass."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        body = blob(CHUNK_BYTES) * (KERNEL_BYTES_MAX // CHUNK_BYTES)
        big = b"$%d\r\n%b\r\n" % (len(body), body)
        if direction is Direction.TO_UPSTREAM:
            big = b"*1\r\n" + big
        got = bytearray()

        async def read() -> None:
            async for chunk in receiver:
                got.extend(chunk)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send_all, big + b"+after\r\n+last\r\n")
            await wait_until(lambda: wire.proxy.bytes_kept(direction) >= BUFFER_BYTES_MAX)
            hold = wire.proxy.hold_message(direction)
            nursery.start_soon(read)
            await hold.wait_holding()
            await wait_until(lambda: len(got) == len(big))
            await wait_kept(wire, direction, 15)
            hold.release()
            await wait_until(lambda: len(got) == len(big) + 15)
            nursery.cancel_scope.cancel()
        assert got == big + b"+after\r\n+last\r\n"

    on_a_wire(test, LINES)


@pytest.mark.parametrize(
    "undo", [Proxy.heal, Proxy.release_messages, lambda proxy: proxy.release_messages(Direction.TO_CLIENT)]
)
def test_undoing_releases_what_is_held_and_holds_nothing_later(undo):
    """A hold that waits for its message is a fault as well, and would strike after the run was healed."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        holding = wire.proxy.hold_message(Direction.TO_CLIENT)
        waiting = wire.proxy.hold_message(Direction.TO_CLIENT, nth=2)
        await pair.server.send_all(b"+1\r\n")
        await holding.wait_holding()
        undo(wire.proxy)
        await waiting.wait_holding()
        assert not holding.is_holding
        assert not waiting.is_holding
        assert await receive(pair.client, 4) == b"+1\r\n"
        for _ in range(3):
            await assert_echoes(pair, b"+2\r\n")

    on_a_wire(test, LINES)


def test_a_hold_that_is_released_before_its_message_came_holds_nothing():
    """What waits for it must be told that it will not come."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        hold = wire.proxy.hold_message(Direction.BOTH, nth=2)
        await pair.client.send_all(b"+1\r\n")
        assert await receive(pair.server, 4) == b"+1\r\n"
        hold.release()
        await hold.wait_holding()
        assert not hold.is_holding
        await assert_echoes(pair, b"+2\r\n")

    on_a_wire(test, LINES)


def test_several_messages_are_held_at_once():
    """Two replies on their way are what a race is made of; a message that two keep back waits for both."""

    async def test(wire: Wire) -> None:
        one, other = await wire.connect(), await wire.connect()
        first, again = wire.proxy.hold_message(Direction.TO_CLIENT), wire.proxy.hold_message(Direction.TO_CLIENT)
        third = wire.proxy.hold_message(Direction.TO_CLIENT, nth=3)
        await one.server.send_all(b"+1\r\n+4\r\n")
        await first.wait_holding()
        await other.server.send_all(b"+2\r\n+3\r\n")
        await third.wait_holding()
        assert await receive(other.client, 4) == b"+2\r\n"
        await assert_nothing_comes(other.client)
        first.release()
        await assert_nothing_comes(one.client)
        assert again.is_holding
        again.release()
        assert await receive(one.client, 8) == b"+1\r\n+4\r\n"
        assert third.is_holding
        third.release()
        assert await receive(other.client, 4) == b"+3\r\n"

    on_a_wire(test, LINES)


@both_ways
def test_a_close_waits_behind_a_held_message(direction):
    """It was sent after the message, and nothing overtakes on a connection."""

    async def test(wire: Wire) -> None:
        sender, receiver = (await wire.connect()).along(direction)
        hold = wire.proxy.hold_message(direction)
        await sender.send_all(b"+last words\r\n")
        await sender.send_eof()
        await hold.wait_holding()
        await assert_nothing_comes(receiver)
        hold.release()
        assert await receive(receiver, 13) == b"+last words\r\n"
        assert await receiver.receive_some() == b""

    on_a_wire(test, LINES)


def test_a_reset_loses_a_held_message_and_ends_its_hold():
    """What is gone cannot be released; a hold that still said so would be waited for in vain."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        hold = wire.proxy.hold_message(Direction.TO_CLIENT)
        await pair.server.send_all(b"+lost\r\n")
        await hold.wait_holding()
        wire.proxy.reset()
        assert not hold.is_holding
        await wait_reset(pair.client)
        assert wire.proxy.bytes_passed(Direction.TO_CLIENT) == 0
        await assert_echoes(await wire.connect(), b"+new\r\n")

    on_a_wire(test, LINES)


def test_a_message_is_counted_when_its_turn_comes_and_not_when_it_is_received():
    """Faults compose: what a hold of the direction keeps back has not begun to pass."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        wire.proxy.hold(Direction.TO_CLIENT)
        await pair.server.send_all(b"+1\r\n+2\r\n")
        await wait_kept(wire, Direction.TO_CLIENT, 8)
        hold = wire.proxy.hold_message(Direction.TO_CLIENT, nth=2)
        wire.proxy.release(Direction.TO_CLIENT)
        await hold.wait_holding()
        assert await receive(pair.client, 4) == b"+1\r\n"
        await assert_nothing_comes(pair.client)

    on_a_wire(test, LINES)


def test_a_held_message_is_discarded_with_its_connection():
    """What a middlebox has dropped is not kept back any more, and does not keep its close back either."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        hold = wire.proxy.hold_message(Direction.TO_CLIENT)
        await pair.server.send_all(b"+1\r\n")
        await hold.wait_holding()
        wire.proxy.discard(Direction.TO_CLIENT, timeout_s=0.0)
        assert await pair.client.receive_some() == b""
        assert not hold.is_holding

    on_a_wire(test, LINES)


def test_a_held_message_waits_without_work():
    """A proxy that kept looking would take the processor from the system that it tests."""

    class Turns(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        hold = wire.proxy.hold_message(Direction.TO_CLIENT)
        await pair.server.send_all(b"+1\r\n")
        await hold.wait_holding()
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        await assert_nothing_comes(pair.client)
        assert turns.count < 20

    on_a_wire(test, LINES)


@pytest.mark.parametrize(("framing", "is_lost"), [(chunks, False), (LINES, True)])
def test_where_messages_are_not_known_a_chunk_is_held(framing, is_lost):
    """Half a message may be held then; whoever relies on messages can ask."""

    async def test(wire: Wire) -> None:
        pair = await wire.connect()
        hold = wire.proxy.hold_message(Direction.TO_CLIENT, nth=2)
        await pair.server.send_all(b"no reply\r\n")
        assert await receive(pair.client, 10) == b"no reply\r\n"
        await pair.server.send_all(b"of Redis\r\n")
        await hold.wait_holding()
        assert hold.is_lost == is_lost
        await assert_nothing_comes(pair.client)

    on_a_wire(test, framing)


def test_messages_are_counted_from_one():
    """A hold of the message before the first would wait for ever."""
    with pytest.raises(InputError, match="nth=0"):
        Proxy(("127.0.0.1", 1)).hold_message(Direction.TO_CLIENT, nth=0)


def test_fifty_connections_at_once_pass_intact_through_a_cut_that_heals():
    """No byte may cross from one connection to another, nor get lost when faults come and go under load."""

    async def test(wire: Wire) -> None:
        answered = 0

        async def echo(pair: Pair, number: int) -> None:
            nonlocal answered
            for turn in range(10):
                await assert_echoes(pair, b"%d/%d " % (number, turn) + blob(4000))
                answered += 1

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(echo, await wire.connect(), number)
            await wait_until(lambda: answered > 50)
            wire.proxy.cut()
            await wait_until(lambda: wire.proxy.bytes_kept(Direction.BOTH) > 0)
            wire.proxy.heal()
        assert answered == 500
        assert wire.proxy.connections == 50

    on_a_wire(test)


@pytest.mark.parametrize(
    "fault",
    [
        lambda proxy: proxy.heal(),
        lambda proxy: proxy.cut(),
        lambda proxy: proxy.refuse(),
        lambda proxy: proxy.reset(),
        lambda proxy: proxy.hold(Direction.BOTH),
        lambda proxy: proxy.hold_message(Direction.BOTH),
        lambda proxy: proxy.delay(3600.0),
        lambda proxy: proxy.silence(),
        lambda proxy: proxy.throttle(1.0),
        lambda proxy: proxy.slice(1, pause_s=3600.0),
        lambda proxy: proxy.limit_data(100),
        lambda proxy: proxy.discard(Direction.BOTH),
        lambda proxy: proxy.reset_on_data(3600.0),
    ],
    ids=[
        "healthy",
        "cut",
        "refuse",
        "reset",
        "hold",
        "hold-message",
        "delay",
        "silence",
        "throttle",
        "slice",
        "limit_data",
        "discard",
        "reset_on_data",
    ],
)
def test_ending_the_proxy_in_the_middle_of_a_fault_leaves_nothing_open(fault):
    """Ctrl-C during a replay must not leave sockets, held bytes, or a port behind."""
    before = len(os.listdir("/dev/fd"))

    async def main() -> None:
        async with a_wire() as wire, trio.open_nursery() as nursery:
            proxy = Proxy(wire.proxy.upstream)
            cancel = trio.CancelScope()

            async def run(*, task_status: trio.TaskStatus[None]) -> None:
                with cancel:
                    await proxy.run(task_status=task_status)

            await nursery.start(run)
            client = await wire.dial(proxy)
            server = await wire.accepted.receive()
            fault(proxy)
            with contextlib.suppress(trio.BrokenResourceError):
                await client.send_all(b"in the middle")
            cancel.cancel()
            await wait_reset(server)
            assert proxy.connections_open == 0
            with pytest.raises(OSError, match="all attempts to connect"):
                await wire.dial(proxy)

    trio.run(main)
    assert len(os.listdir("/dev/fd")) == before
