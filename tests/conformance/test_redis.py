"""The simulated Redis answers as Redis 7.0 does: every case is run on both, and the raw replies are compared."""

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import coredis
import pytest
import time_machine
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.live.redis import RedisServer
from simulator.services.redis import Persistence, SimulatedRedis
from simulator.services.redis.commands import COMMANDS
from tests.conformance.redis_cases import SCRIPTS, Client, normalised, run_script, settle
from tests.conformance.redis_cases_numbers import NUMBER_SCRIPTS, UNMODELLED_NUMBERS

_T = TypeVar("_T")


@pytest.fixture(scope="module")
def real() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def on_simulated(run: Callable[[int], Awaitable[_T]]) -> _T:
    """Run something against a fresh simulated server, over the real loopback network."""

    async def main() -> _T:
        server = SimulatedRedis(port=0, host="127.0.0.1")
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            result = await run(server.port)
            nursery.cancel_scope.cancel()
        return result

    return trio.run(main)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("name", [*SCRIPTS, *NUMBER_SCRIPTS])
def test_the_simulated_server_answers_as_the_real_one(real: RedisServer, name: str, protocol: int) -> None:
    """One wrong answer would make every finding of a simulation doubtful."""
    script = {**SCRIPTS, **NUMBER_SCRIPTS}[name]
    expected = trio.run(run_script, script, real.port, protocol)
    assert on_simulated(lambda port: run_script(script, port, protocol)) == expected


KEYS = ["k1", "k2", "k3"]
VALUES = ["", "1", "-3", "abc", "3.5", "007", "9223372036854775807"]
NUMBERS = ["0", "1", "-1", "2", "-2", "5", "-100", "100", "x"]
SCORES = ["0", "1", "-1", "2.5", "(1", "(2.5", "-inf", "+inf", "x"]
IDS = ["0", "1", "1-1", "1-2", "2-1", "2-*", "3-0", "x"]
BOUNDS = ["-", "+", "1", "1-1", "(1-1", "2", "(2-1", "3-0", "x"]
TEMPLATES = """
    SET k v|SET k v NX|SET k v XX|SET k v GET|SET k v EX 100|SET k v KEEPTTL|GET k|GETDEL k|MGET k k
    MSET k v k v|SETNX k v|SETEX k n v|INCR k|INCRBY k n|DECR k|DECRBY k n|INCRBY k v|APPEND k v
    STRLEN k|DEL k|DEL k k|UNLINK k|EXISTS k k|TYPE k|EXPIRE k 100|EXPIRE k n|EXPIRE k 50 GT
    EXPIRE k 50 LT|EXPIRE k 50 NX|PERSIST k|TTL k|KEYS *|SCAN 0 COUNT 100|RENAME k k|DBSIZE|FLUSHDB
    HSET k v v|HSET k v v v v|HSETNX k v v|HGET k v|HGETALL k|HDEL k v v|HINCRBY k v n|HLEN k|HKEYS k
    HVALS k|HMGET k v v|HEXISTS k v|LPUSH k v v|RPUSH k v|LPOP k|RPOP k|LPOP k n|RPOP k n|LRANGE k n n
    LLEN k|LTRIM k n n|LREM k n v|LINDEX k n|LSET k n v|LMOVE k k LEFT RIGHT|LMOVE k k RIGHT LEFT
    RPOPLPUSH k k|BLPOP k k 0.001|BRPOP k 0.001|BLMOVE k k LEFT RIGHT 0.001|SADD k v v|SREM k v
    SMEMBERS k|SISMEMBER k v|SCARD k|ZADD k s v|ZADD k NX s v|ZADD k XX CH s v|ZADD k GT s v
    ZADD k LT CH s v|ZADD k INCR s v|ZADD k s v s v|ZRANGE k n n|ZRANGE k n n WITHSCORES
    ZRANGE k n n REV|ZRANGE k s s BYSCORE|ZRANGE k s s BYSCORE LIMIT n n
    ZRANGE k s s BYSCORE REV WITHSCORES|ZREM k v v|ZSCORE k v|ZCARD k|ZCOUNT k s s|ZINCRBY k s v
    ZRANGEBYSCORE k s s|ZRANGEBYSCORE k s s WITHSCORES LIMIT n n|ZREMRANGEBYSCORE k s s|XADD k i f v
    XADD k MAXLEN n i f v|XADD k NOMKSTREAM i f v|XRANGE k b b|XREVRANGE k b b|XRANGE k b b COUNT n
    XLEN k|XDEL k i|XTRIM k MAXLEN n|XREAD STREAMS k i|XREAD COUNT n STREAMS k k i i|XREAD STREAMS k $
    XREAD BLOCK 1 STREAMS k i|XGROUP CREATE k g i|XGROUP CREATE k g $ MKSTREAM|XGROUP DESTROY k g
    XREADGROUP GROUP g c STREAMS k >|XREADGROUP GROUP g d COUNT n STREAMS k >
    XREADGROUP GROUP g c STREAMS k i|XREADGROUP GROUP g c NOACK STREAMS k >|XACK k g i|XPENDING k g
"""
POOLS = {"k": KEYS, "v": VALUES, "n": NUMBERS, "s": SCORES, "i": IDS, "b": BOUNDS}


def commands() -> st.SearchStrategy[tuple[bytes, ...]]:
    templates = [line.strip().split() for part in TEMPLATES.strip().splitlines() for line in part.split("|")]

    def filled(template: list[str]) -> st.SearchStrategy[tuple[bytes, ...]]:
        words = [st.sampled_from(POOLS[word]) if word in POOLS else st.just(word) for word in template]
        return st.tuples(*words).map(lambda drawn: tuple(word.encode() for word in drawn))

    return st.sampled_from(templates).flatmap(filled)


async def replies_and_watches(program: list[tuple[bytes, ...]], protocol: int, port: int) -> list[tuple[object, ...]]:
    """Each command's reply, and whether a client that watched all the keys saw a change."""
    transcript: list[tuple[object, ...]] = []
    async with await Client.connect(port) as client, await Client.connect(port) as watcher:
        await client.ask(b"HELLO", b"%d" % protocol)
        await client.ask(b"FLUSHALL")
        for words in program:
            await watcher.ask(b"WATCH", *(key.encode() for key in KEYS))
            reply = normalised(words, await client.ask(*words))
            await watcher.ask(b"MULTI")
            transcript.append((words, reply, await watcher.ask(b"EXEC")))
    return transcript


def test_random_programs_are_answered_alike(real: RedisServer) -> None:
    """Cases are what somebody thought of; the differences are in what nobody did."""

    @settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(program=st.lists(commands(), min_size=4, max_size=16), protocol=st.sampled_from([2, 3]))
    def check(program: list[tuple[bytes, ...]], protocol: int) -> None:
        expected = trio.run(replies_and_watches, program, protocol, real.port)
        assert on_simulated(lambda port: replies_and_watches(program, protocol, port)) == expected

    check()


BROKEN = [
    b"*x\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\nPING\r\n",
    b"*1\r\n$4 \r\n",
    b"*1\r\n$4\r\nPING\r\n*2\r\n:1\r\n",
    b"*-1\r\nPING\r\nQUIT\r\n",
]


@pytest.mark.parametrize("data", BROKEN)
def test_what_is_no_request_is_answered_and_closed_alike(real: RedisServer, data: bytes) -> None:
    """A client library with a defect must meet the same server in both worlds."""

    async def everything(port: int) -> bytes:
        async with await Client.connect(port) as client:
            await client.stream.send_all(data)
            return await client.rest()

    assert on_simulated(everything) == trio.run(everything, real.port)


def test_the_list_of_commands_has_the_arity_that_the_real_server_tells(real: RedisServer) -> None:
    """A wrong number there would refuse or admit what Redis does not."""

    async def arities() -> dict[str, int]:
        async with await Client.connect(real.port) as client:
            replies = {name: await client.ask(b"COMMAND", b"INFO", name.lower().encode()) for name in COMMANDS}
        return {name: int(reply.split(b":")[1].split(b"\r\n")[0]) for name, reply in replies.items()}

    assert {name: command.arity for name, command in COMMANDS.items()} == trio.run(arities)


def test_what_is_not_modelled_is_refused() -> None:
    """One wrong answer is worse than a missing command."""

    async def ask(port: int) -> bytes:
        async with await Client.connect(port) as client:
            return await client.ask(b"GEOADD", b"k", b"1", b"2", b"m")

    assert on_simulated(ask) == b"-ERR wavetank: the simulated Redis does not model 'GEOADD'\r\n"


@pytest.mark.parametrize("request_", UNMODELLED_NUMBERS, ids=lambda text: text[:20])
def test_numbers_that_are_not_modelled_are_refused(request_: str) -> None:
    """Python reads neither hexadecimal digits nor thousands of decimal ones."""

    async def ask(port: int) -> bytes:
        async with await Client.connect(port) as client:
            return await client.ask(*request_.encode().split())

    assert on_simulated(ask).startswith(b"-ERR wavetank: the simulated Redis does not model hexadecimal numbers")


async def use_coredis(port: int) -> list[object]:
    """What the client library returns for a little of everything it does."""
    seen: list[object] = []
    redis = coredis.Redis(host="127.0.0.1", port=port, decode_responses=True, client_name="conformance")
    async with redis:
        await redis.flushall()
        seen += [await redis.set("k", "v", ex=100), await redis.get("k"), await redis.hset("h", {"a": "1"})]
        seen += [await redis.hgetall("h"), await redis.sadd("s", ["1", "2"]), await redis.smembers("s")]
        seen += [await redis.zadd("z", {"m": 1.5}), await redis.zrange("z", 0, -1, withscores=True)]
        await redis.xadd("x", field_values={"f": "v"}, identifier="1-1")
        seen += [await redis.xrange("x"), await redis.xread({"x": "0"}), await redis.blpop(["none"], timeout=0.01)]
        async with redis.pipeline(transaction=True) as pipeline:
            results = [pipeline.incr("n"), pipeline.lpush("l", ["1"]), pipeline.get("n")]
        seen += [await result for result in results]
        async with redis.pubsub(channels=["news"]) as listener:
            seen.append(await redis.publish("news", "hello"))
            async for message in listener:
                if message["type"] == "message":
                    seen.append((message["channel"], message["data"]))
                    break
    return seen


def test_coredis_sees_no_difference(real: RedisServer) -> None:
    """The platform's own client, unmodified, with its handshake, pool, pipelines and pushes."""
    assert on_simulated(use_coredis) == trio.run(use_coredis, real.port)


def test_the_real_server_keeps_acknowledged_writes_over_a_crash() -> None:
    """This is what `Persistence.ALWAYS` promises to be a model of."""
    with RedisServer() as server:

        async def ask(*words: bytes) -> bytes:
            async with await Client.connect(server.port) as client:
                return await client.ask(*words)

        assert trio.run(ask, b"SET", b"k", b"v") == b"+OK\r\n"
        server.kill()
        server.start()
        assert trio.run(ask, b"GET", b"k") == b"$1\r\nv\r\n"


@pytest.mark.parametrize(
    ("persistence", "kept"),
    [
        (Persistence.ALWAYS, b"*3\r\n$1\r\n2\r\n$1\r\n1\r\n$1\r\n1\r\n"),
        (Persistence.EVERY_SECOND, b"*3\r\n$1\r\n1\r\n$1\r\n1\r\n$-1\r\n"),
        (Persistence.NEVER, b"*3\r\n$-1\r\n$-1\r\n$-1\r\n"),
    ],
)
def test_a_crash_loses_what_the_persistence_says(persistence: Persistence, kept: bytes) -> None:
    """Lost acknowledged writes are the faults that the storms are to find."""
    trio.run(crash_between_two_seconds, persistence, kept)


async def crash_between_two_seconds(persistence: Persistence, kept: bytes) -> None:
    server = SimulatedRedis(port=0, host="127.0.0.1", persistence=persistence)
    with time_machine.travel(1_000_000_000.5, tick=False) as clock:
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            async with await Client.connect(server.port) as first, await Client.connect(server.port) as second:
                await first.ask(b"MSET", b"a", b"1", b"b", b"1")
                await second.send(b"BLPOP", b"queue", b"0")
                clock.shift(1)
                await first.ask(b"INCR", b"a")
                await first.ask(b"SET", b"c", b"1")
                server.crash()
                await first.ask(b"SET", b"a", b"from the grave")
                nursery.cancel_scope.cancel()
        async with trio.open_nursery() as nursery:
            await nursery.start(server.main)
            async with await Client.connect(server.port) as client:
                assert await client.ask(b"MGET", b"a", b"b", b"c") == kept
                assert await client.ask(b"RPUSH", b"queue", b"nobody waits") == b":1\r\n"
            nursery.cancel_scope.cancel()


def test_a_client_that_leaves_while_it_waits_takes_nothing() -> None:
    """Otherwise the element would be handed to a closed connection and be lost."""

    async def leave(port: int) -> bytes:
        async with await Client.connect(port) as other:
            async with await Client.connect(port) as waiting:
                await waiting.send(b"BLPOP", b"q", b"0")
                await settle(other)
            await settle(other)
            await other.ask(b"RPUSH", b"q", b"1")
            return await other.ask(b"LLEN", b"q")

    assert on_simulated(leave) == b":1\r\n"


def test_where_redis_has_no_order_the_simulated_server_has_that_of_insertion() -> None:
    """The order of a Python set differs from process to process, and with it would every run."""

    async def ask(port: int) -> bytes:
        async with await Client.connect(port) as client:
            await client.ask(b"SADD", b"zebra", b"c", b"a", b"b")
            await client.ask(b"SET", b"ant", b"1")
            return await client.ask(b"SMEMBERS", b"zebra") + await client.ask(b"KEYS", b"*")

    members, keys = b"*3\r\n$1\r\nc\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$5\r\nzebra\r\n$3\r\nant\r\n"
    assert on_simulated(ask) == members + keys


def test_every_modelled_command_is_compared_with_the_real_server() -> None:
    """The list of commands promises what this suite keeps."""
    asked = f"{' '.join(SCRIPTS.values())} {TEMPLATES}".replace("CLIENT ", "CLIENT|").replace("XGROUP ", "XGROUP|")
    assert [name for name in COMMANDS if not re.search(rf"(?<![\w|]){re.escape(name)}(?![\w|])", asked)] == []
