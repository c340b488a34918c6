"""TCP as programs see it: in order, both ways, with an end, a window, and errors that say what happened."""

import errno
import hashlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from simulator.services.answer import send_answer
from simulator.world.connection import WINDOW_BYTES
from simulator.world.network import CONNECT_TIMEOUT_S
from tests.world.stage import PORT, receive_exactly, receive_until_end, serve, serve_echo, world_with

Program = Callable[[], Awaitable[object]]


def run(client: Program, server: Program | None = serve_echo, weather: int = 0) -> Any:
    with world_with(server) as world:
        world.weather.change(weather)
        result = world.run(client, host="c0")
        world.weather.change(0)
        world.advance(10)
        assert world.network.count_connections() == 0, "a connection that nobody holds is still there"
        assert not world.failures
        return result


async def connect() -> trio.SocketStream:
    return await trio.open_tcp_stream("server", PORT)


@pytest.mark.parametrize("weather", [0, 1, 2])
def test_five_megabytes_arrive_intact_both_ways(weather):
    """Windows, segments and jitter must not show in the bytes."""
    data = bytes(range(256)) * (5 * 2**20 // 256)

    async def client():
        async with await connect() as stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            return hashlib.sha256(await receive_exactly(stream, len(data))).digest()

    assert run(client, weather=weather) == hashlib.sha256(data).digest()


@pytest.mark.parametrize("weather", range(1, 6))
def test_jitter_keeps_the_order_of_a_connection(weather):
    """A message may be late, never before the one that was sent earlier."""
    numbers = b"".join(number.to_bytes(2) for number in range(300))

    async def client():
        async with await connect() as stream:
            for at in range(0, len(numbers), 2):
                await stream.send_all(numbers[at : at + 2])
            return await receive_exactly(stream, len(numbers))

    assert run(client, weather=weather) == numbers


def test_a_connection_takes_a_round_trip_and_a_message_one_way():
    """Latency is the link's, and nothing else takes time."""

    async def client():
        async with await connect() as stream:
            connected_s = trio.current_time()
            await stream.send_all(b"x")
            await receive_exactly(stream, 1)
            return connected_s, trio.current_time()

    connected_s, answered_s = run(client)
    assert connected_s == pytest.approx(0.002)
    assert answered_s == pytest.approx(0.004)


def test_half_closing_ends_one_direction_only():
    """HTTP/1.0 clients and pipes do that."""

    async def upper(stream):
        async with stream:
            await stream.send_all((await receive_until_end(stream)).upper())

    async def client():
        async with await connect() as stream:
            await stream.send_all(b"abc")
            await stream.send_eof()
            with pytest.raises(trio.ClosedResourceError):
                await stream.send_all(b"d")
            return await receive_until_end(stream)

    assert run(client, serve(upper)) == b"ABC"


def test_closing_with_unread_data_resets_the_other_side():
    """RFC 2525, section 2.17: what was sent is known to be lost."""

    async def rude(stream):
        await receive_exactly(stream, 1)
        await trio.sleep(1)
        await stream.aclose()

    async def client():
        async with await connect() as stream:
            await stream.send_all(b"x")
            await trio.sleep(0.5)
            await stream.send_all(b"never read")
            with pytest.raises(trio.BrokenResourceError) as caught:
                await stream.receive_some()
            assert isinstance(caught.value.__cause__, ConnectionResetError)
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"y")
            return trio.current_time()

    assert run(client, serve(rude)) == pytest.approx(1.004, abs=1e-3)


async def close_at_once(stream):
    await stream.send_all(b"bye")
    await stream.aclose()


def test_data_and_end_are_read_before_a_later_reset():
    """As on Linux: a reset does not take back what arrived in order before it."""

    async def client():
        async with await connect() as stream:
            await trio.sleep(1)
            await stream.send_all(b"to a closed peer")
            await trio.sleep(1)
            assert stream.socket.is_readable()
            return await receive_until_end(stream)

    assert run(client, serve(close_at_once)) == b"bye"


def test_sending_to_a_closed_peer_fails_a_round_trip_later():
    """The first send succeeds, as in reality: only the answer to it tells."""

    async def client():
        async with await connect() as stream:
            await trio.sleep(1)
            await stream.send_all(b"x")
            await trio.sleep(0.0019)
            await stream.send_all(b"y")  # the reset is still under way
            await trio.sleep(0.0002)
            with pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"z")

    run(client, serve(close_at_once))


def test_a_slow_reader_holds_up_the_sender_at_the_window():
    """Without back-pressure a system that buffers without bound would look healthy."""
    sent = []

    async def slow(stream):
        await trio.sleep(10)
        async with stream:
            assert len(await receive_exactly(stream, 3 * WINDOW_BYTES)) == 3 * WINDOW_BYTES

    async def client():
        async with await connect() as stream:
            for _ in range(3):
                await stream.send_all(bytes(WINDOW_BYTES))
                sent.append(trio.current_time())

    run(client, serve(slow))
    assert sent[0] < 1 < 10 <= sent[1] <= sent[2]


@pytest.mark.parametrize("count", [1, WINDOW_BYTES, 3 * WINDOW_BYTES + 1])
def test_a_services_answer_arrives_whole_and_waits_where_the_window_ends(count):
    """At once as far as there is room, and the rest as any send: in order, without a byte lost."""
    data = bytes(index % 251 for index in range(count))
    waited_s = 0.0

    async def answer(stream):
        nonlocal waited_s
        await stream.receive_some()
        begun_s = trio.current_time()
        await send_answer(stream, data)
        waited_s = trio.current_time() - begun_s
        await stream.send_eof()

    async def client():
        async with await connect() as stream:
            await stream.send_all(b"?")
            await trio.sleep(1)
            return await receive_until_end(stream)

    assert run(client, serve(answer)) == data
    assert (waited_s > 0.9) == (count > WINDOW_BYTES)


def test_an_answer_to_who_is_gone_fails_as_a_send_does():
    """A service must hear of it in the same way."""

    async def answer(stream):
        await trio.sleep(1)
        with pytest.raises(trio.BrokenResourceError):
            await send_answer(stream, b"too late")
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await send_answer(stream, b"later still")

    async def client():
        stream = await connect()
        await stream.send_all(b"nobody reads this")
        stream.socket._network.reset("c0", "server")
        await trio.sleep(2)
        await stream.aclose()

    run(client, serve(answer))


def test_a_cancelled_send_and_a_cancelled_receive_lose_nothing():
    """What was not reported as sent was not sent; what was not returned is still there."""

    async def client():
        async with await connect() as stream:
            with trio.CancelScope() as scope:
                scope.cancel()
                await stream.socket.send(b"never")
            await stream.send_all(b"sent")
            with trio.move_on_after(0.001) as scope:
                await stream.receive_some()
            assert scope.cancelled_caught
            return await receive_exactly(stream, 4)

    assert run(client) == b"sent"


@pytest.mark.parametrize("after_s", [0.0005, 0.0015])
def test_a_cancelled_connect_leaves_no_connection(after_s):
    """Before its first packet arrived the server sees nothing; after, a reset: never an orderly end of a stream."""
    seen: list[object] = []

    async def handler(stream):
        async with stream:
            try:
                seen.append(await receive_until_end(stream))
            except trio.BrokenResourceError:
                seen.append("reset")

    async def client():
        with trio.move_on_after(after_s) as scope:
            await connect()
        return scope.cancelled_caught

    assert run(client, serve(handler))
    assert seen == ([] if after_s < 0.001 else ["reset"])


async def deaf(stream):
    await trio.sleep(5)
    await stream.aclose()


def test_closing_while_another_task_waits_wakes_it():
    """Nobody may wait for ever on a socket that is gone: not in receive, not in send, not in accept."""

    async def client():
        woken = []
        stream = await connect()
        (listener,) = await trio.open_tcp_listeners(0, host="0.0.0.0")

        async def wait(name, call):
            with pytest.raises(trio.ClosedResourceError):
                await call()
            woken.append(name)

        async def fill():
            while True:
                await stream.send_all(bytes(WINDOW_BYTES))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "receive", stream.receive_some)
            nursery.start_soon(wait, "accept", listener.accept)
            nursery.start_soon(wait, "send", fill)
            await trio.sleep(1)
            await stream.aclose()
            await listener.aclose()
        return sorted(woken)

    assert run(client, serve(deaf)) == ["accept", "receive", "send"]


def test_closing_wakes_who_waits_until_it_may_send():
    """Trio offers that as `wait_send_all_might_not_block`."""

    async def client():
        stream = await connect()
        sent = 0
        while sent < WINDOW_BYTES:
            sent += await stream.socket.send(bytes(WINDOW_BYTES))

        async def wait():
            with pytest.raises(trio.ClosedResourceError):
                await stream.wait_send_all_might_not_block()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(1)
            await stream.aclose()
        return trio.current_time()

    assert run(client, serve(deaf)) < 2


def test_two_tasks_reading_one_socket_share_its_bytes_without_loss():
    """Trio's stream forbids it; raw sockets allow it."""

    async def send_ten(stream):
        async with stream:
            for number in range(10):
                await stream.send_all(bytes([number]))
                await trio.sleep(0.01)

    async def client():
        got = []
        stream = await connect()

        async def read():
            while data := await stream.socket.recv(1):
                got.append(data[0])

        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(read)
        return got

    assert run(client, serve(send_ten)) == list(range(10))


def test_connections_are_accepted_in_the_order_in_which_they_arrived():
    """The queue is the kernel's: it also holds those that came before anybody accepted."""

    async def late():
        (listener,) = await trio.open_tcp_listeners(PORT)
        await trio.sleep(1)
        ports = []
        for _ in range(3):
            stream = await listener.accept()
            ports.append(stream.socket.getpeername()[1])
            await stream.aclose()
        await listener.aclose()
        assert ports == sorted(ports)

    async def client():
        for stream in [await connect() for _ in range(3)]:
            assert await receive_until_end(stream) == b""
            await stream.aclose()

    run(client, late)


def test_closing_a_listener_resets_those_that_nobody_accepted():
    """They hear of it one latency later, and nothing of them is left."""

    async def unwilling():
        (listener,) = await trio.open_tcp_listeners(PORT)
        await trio.sleep(1)
        await listener.aclose()

    async def client():
        async with await connect() as stream:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
            return trio.current_time()

    assert run(client, unwilling) == pytest.approx(1.001)


def failing_connect(host: str, port: int = PORT, server: Program = serve_echo) -> tuple[OSError, float]:
    async def client():
        with pytest.raises(OSError) as caught:
            await trio.open_tcp_stream(host, port)
        cause = caught.value.__cause__ or caught.value
        while isinstance(cause, ExceptionGroup):
            (cause,) = cause.exceptions
        assert isinstance(cause, OSError)
        return cause, trio.current_time()

    error, failed_s = run(client, server)
    return error, failed_s


def test_a_port_that_nobody_listens_on_is_refused_after_a_round_trip():
    """A server that is not up yet is the most common failure of all."""
    error, now_s = failing_connect("server", 7001)
    assert error.errno == errno.ECONNREFUSED
    assert now_s == pytest.approx(0.002)


def test_an_unknown_name_is_a_resolution_error():
    """Programs tell it from a refused connection."""
    error, _ = failing_connect("nowhere")
    assert isinstance(error, socket.gaierror)


def test_an_address_without_a_machine_times_out_as_on_linux():
    """Nobody answers: the caller waits for two minutes."""
    error, now_s = failing_connect("10.9.9.9")
    assert (error.errno, now_s) == (errno.ETIMEDOUT, CONNECT_TIMEOUT_S)


def test_a_server_that_listens_on_loopback_is_refused_to_other_hosts():
    """The classic deployment mistake must not pass in simulation."""

    async def local():
        await trio.serve_tcp(lambda stream: stream.aclose(), PORT, host="127.0.0.1")

    error, _ = failing_connect("server", PORT, local)
    assert error.errno == errno.ECONNREFUSED


def test_a_host_reaches_itself_by_name_address_and_loopback():
    """Side processes on one host talk that way."""

    async def client():
        (listener,) = await trio.open_tcp_listeners(PORT, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, lambda stream: stream.send_all(b"hi"), [listener])
            for name in ("127.0.0.1", "localhost"):
                async with await trio.open_tcp_stream(name, PORT) as stream:
                    assert await receive_exactly(stream, 2) == b"hi"
            nursery.cancel_scope.cancel()

    with world_with() as world:
        world.run(client, host="c0")


def test_a_port_that_is_taken_is_refused_and_free_after_closing():
    """A restart that forgets to close finds its own port taken."""

    async def client():
        (first,) = await trio.open_tcp_listeners(PORT)
        with pytest.raises(OSError, match="in use"):
            await trio.open_tcp_listeners(PORT)
        await first.aclose()
        (second,) = await trio.open_tcp_listeners(PORT)
        await second.aclose()

    run(client)


def test_port_zero_means_a_free_port_also_after_all_were_used():
    """Long runs use up the ephemeral ports; they begin again, without those that are listened on."""

    async def client():
        (listener,) = await trio.open_tcp_listeners(0, host="0.0.0.0")
        port = listener.socket.getsockname()[1]
        seen = []
        for _ in range(2**14 + 10):
            with trio.socket.socket() as other:
                await other.bind(("0.0.0.0", 0))
                seen.append(other.getsockname()[1])
        await listener.aclose()
        return port, seen

    port, seen = run(client)
    assert port not in seen
    assert 49_152 <= min(seen) <= max(seen) <= 65_535


def test_both_ends_agree_on_their_addresses():
    """Logs, rate limits and allow-lists use them."""
    addresses = []

    async def handler(stream):
        addresses.append((stream.socket.getsockname(), stream.socket.getpeername()))
        await stream.aclose()

    async def client():
        async with await connect() as stream:
            await receive_until_end(stream)
            return stream.socket.getpeername(), stream.socket.getsockname()

    mine = run(client, serve(handler))
    assert addresses == [mine]
    assert mine[0][1] == PORT


def test_a_socket_is_readable_when_a_receive_would_return_at_once():
    """HTTP clients ask before they use a pooled connection again."""

    async def client():
        async with await connect() as stream:
            before = stream.socket.is_readable()
            await stream.send_all(b"x")
            await trio.sleep(1)
            return before, stream.socket.is_readable()

    assert run(client) == (False, True)


@pytest.mark.parametrize(
    ("family", "kind", "number"),
    [
        (socket.AF_INET6, socket.SOCK_STREAM, errno.EAFNOSUPPORT),
        (socket.AF_INET, socket.SOCK_DGRAM, errno.EPROTONOSUPPORT),
    ],
)
def test_ipv6_and_udp_are_refused(family, kind, number):
    """Not modelled: better an error than a wrong answer."""

    async def client():
        with pytest.raises(OSError) as caught:
            trio.socket.socket(family, kind)
        return caught.value.errno

    assert run(client) == number


def test_peeking_is_refused():
    """It would take the bytes."""

    async def client():
        async with await connect() as stream:
            with pytest.raises(OSError, match="not supported"):
                await stream.socket.recv(1, socket.MSG_PEEK)

    run(client)


def test_of_many_connections_that_are_closed_none_is_left():
    """A load test opens thousands, and a world keeps only those that somebody holds (`run` looks)."""

    async def client():
        for stream in [await connect() for _ in range(1_500)]:
            await stream.aclose()

    run(client)
