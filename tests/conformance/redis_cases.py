"""What is asked of the simulated and of the real Redis: scripts of raw requests, and the client that runs them.

A script has one step a line, `#` begins a comment:

    SET k v => +OK      ask on connection a; the reply, its line ends written as spaces, must be this
    b: GET k            ask on connection b
    b! BLPOP q 0        send on b, and go on once the server has seen it
    b?                  read the reply, or the push, that b waits for
    until GET k => _    ask until the reply is this (for what takes time)
    (pipeline) A; B     send both at once, read two replies

The file is long because it is one list.
"""

import contextlib
import re
import shlex
from collections.abc import Sequence
from typing import Self

import trio

__all__ = ["SCRIPTS", "Client", "normalised", "run_script", "settle"]

STEP_WITHIN_S = 5.0

# Where Redis does not say in which order, or the reply is a number of this run.
_UNORDERED = ("KEYS", "SCAN", "SMEMBERS")
_OWN_NUMBERS = ("HELLO", "PTTL")


class Client:
    """A raw connection: words out, the bytes of whole replies in."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    @classmethod
    async def connect(cls, port: int) -> Self:
        return cls(await trio.open_tcp_stream("127.0.0.1", port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await trio.aclose_forcefully(self.stream)

    async def send(self, *words: bytes) -> None:
        await self.stream.send_all(encode_request(words))

    async def reply(self) -> bytes:
        with trio.fail_after(STEP_WITHIN_S):
            while (end := _reply_end(self._buffer, 0)) is None:
                received = await self.stream.receive_some()
                if not received:
                    raise EOFError(f"closed after {self._buffer!r}")
                self._buffer += received
        reply, self._buffer = self._buffer[:end], self._buffer[end:]
        return reply

    async def ask(self, *words: bytes) -> bytes:
        await self.send(*words)
        return await self.reply()

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        with trio.fail_after(STEP_WITHIN_S):
            async for received in self.stream:
                self._buffer += received
        return self._buffer


def encode_request(words: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _reply_end(data: bytes, start: int) -> int | None:
    """Where the reply that begins at `start` ends, or None if it is not all there."""
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, rest, position = data[start : start + 1], data[start + 1 : line_end], line_end + 2
    if kind == b"$":
        position += 0 if rest == b"-1" else int(rest) + 2
        return position if position <= len(data) else None
    items = {b"*": 1, b"~": 1, b">": 1, b"%": 2}.get(kind, 0)
    for _ in range(items and items * int(rest)):
        end = _reply_end(data, position)
        if end is None:
            return None
        position = end
    return position


def normalised(words: Sequence[bytes], reply: bytes) -> bytes:
    """The reply without what may differ: the order of a set of keys, the numbers of this run."""
    name = words[0].upper().decode("latin-1")
    if name in _UNORDERED:
        return b"\r\n".join(sorted(reply.split(b"\r\n")))
    if name in _OWN_NUMBERS or (name == "CLIENT" and reply[:1] == b":") or (name == "XADD" and b"*" in words):
        return re.sub(rb"\d+", b"N", reply)
    return reply


async def run_script(script: str, port: int, protocol: int) -> list[str]:
    """Run a script on a server, its keys deleted first, and return what was answered, a line a step."""
    transcript: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(await Client.connect(port)) for name in "abc"}
        for client in clients.values():
            await client.ask(b"HELLO", b"%d" % protocol)
        await clients["a"].ask(b"FLUSHALL")
        for line in script.strip().splitlines():
            step = line.partition("#")[0].strip()
            if step:
                transcript.append(f"{step}  ->  {await _run_step(step, clients)!r}")
    return transcript


async def _run_step(step: str, clients: dict[str, Client]) -> bytes:
    step, _, expected = (part.strip() for part in step.partition("=>"))
    match = re.match(r"([abc])([:!?])\s*", step)
    name, action = match.groups() if match else ("a", ":")
    rest = step[match.end() :] if match else step
    client = clients[name]
    until = rest.startswith("until ")
    requests = [_words(part) for part in rest.removeprefix("until ").removeprefix("(pipeline) ").split(";")]
    if action == "!":
        await client.send(*requests[0])
        await settle(clients["a" if name != "a" else "b"])
        return b""
    if action == "?":
        reply = await client.reply()
    elif until:
        reply = await _ask_until(client, requests[0], expected)
    else:
        await client.stream.send_all(b"".join(encode_request(words) for words in requests))
        reply = b"".join([normalised(words, await client.reply()) for words in requests])
    if expected and not until:
        assert _on_one_line(reply) == expected, step
    return reply


def _words(text: str) -> list[bytes]:
    return [word.encode() for word in shlex.split(text)]


def _on_one_line(reply: bytes) -> str:
    return reply.decode().replace("\r\n", " ").strip()


async def settle(client: Client) -> None:
    """Wait until the server has read what others sent: the second answer is from a later turn of its loop."""
    await client.ask(b"ECHO", b"1")
    await client.ask(b"ECHO", b"2")


async def _ask_until(client: Client, words: Sequence[bytes], expected: str) -> bytes:
    with trio.fail_after(STEP_WITHIN_S):
        while _on_one_line(reply := await client.ask(*words)) not in expected.split(" or "):
            await trio.sleep(0.001)
    return reply


SCRIPTS = {
    "strings": """
        PING => +PONG
        PING hello
        ECHO hello => $5 hello
        SET k v => +OK
        GET k => $1 v
        GET missing
        SET k w NX
        SET k w XX => +OK
        SET k x GET => $1 w
        SET n x GET NX
        SET k y XX GET
        (pipeline) SET k v EX 100; TTL k; SET k w KEEPTTL; TTL k; SET k z; TTL k
        SET k v PX 100000 => +OK
        PTTL k
        SET k v EX 0
        SET k v EX x
        SET k v EX 9223372036854775807
        SET k v NX XX
        SET k v EX 1 PX 1
        SET k v FOO
        SETEX k 100 v => +OK
        TTL k => :100
        SETEX k 0 v
        PSETEX k 100000 v
        TTL k => :100
        SETNX k v => :0
        GETDEL k => $1 v
        GETDEL k
        MSET a 1 b 2 => +OK
        MSET a 1 b
        MGET a b c
        INCR a => :2
        INCRBY a 9223372036854775807
        INCRBY a -2 => :0
        DECR a => :-1
        DECRBY a 10 => :-11
        (pipeline) INCR k; SET k abc; INCR k; INCRBY k 1x
        APPEND k def => :6
        STRLEN k => :6
        STRLEN missing => :0
        LPUSH l 1
        GET l => -WRONGTYPE Operation against a key holding the wrong kind of value
        SET l 1 GET
        INCR l
        APPEND l x
        GET
        GET a b
        SET k
    """,
    "keys": """
        MSET a 1 b 2 ab 3
        DEL a missing a => :1
        UNLINK b => :1
        EXISTS ab ab missing => :2
        TYPE ab => +string
        TYPE missing => +none
        (pipeline) LPUSH l 1; HSET h f v; SADD s m; ZADD z 1 m; XADD x 1-1 f v
        (pipeline) TYPE l; TYPE h; TYPE s; TYPE z; TYPE x
        KEYS *
        KEYS [a-h]*
        KEYS ?
        SCAN 0 COUNT 1000
        SCAN 0 COUNT 1000 MATCH a* TYPE string
        SCAN x
        SCAN 0 COUNT 0
        DBSIZE => :6
        RENAME ab c => +OK
        GET c => $1 3
        RENAME missing c => -ERR no such key
        EXPIRE c 100 => :1
        (pipeline) RENAME c d; TTL d; PERSIST d; PERSIST d; TTL d; TTL missing
        EXPIRE missing 10 => :0
        EXPIRE d 9223372036854775807
        PEXPIRE d 9223372036854775807
        EXPIRE d -9223372036854775808
        EXPIRE d x
        EXPIRE d 10 XX => :0
        EXPIRE d 10 NX => :1
        EXPIRE d 5 GT => :0
        EXPIRE d 5 LT => :1
        EXPIRE d 5 NX GT
        EXPIRE d 5 FOO
        EXPIRE d -1 => :1
        EXISTS d => :0
        SET d 1
        PEXPIRE d 0 => :1
        EXISTS d => :0
        SELECT 1 => +OK
        DBSIZE => :0
        SET only-here 1
        SELECT 0
        EXISTS only-here => :0
        SELECT 16
        SELECT x
        FLUSHDB => +OK
        FLUSHDB SYNC => +OK
        FLUSHALL ASYNC => +OK
        FLUSHALL FOO
        SELECT 1
        DBSIZE => :0
    """,
    "expiry": """
        SET k v PX 30 => +OK
        until GET k => $-1 or _
        EXISTS k => :0
        DBSIZE => :0
        KEYS * => *0
        SET k v PX 30
        WATCH k
        b: until EXISTS k => :0
        MULTI
        PING
        EXEC
        RPUSH l 1
        PEXPIRE l 20
        until LLEN l => :0
        RPUSH l 2 => :1
        TTL l => :-1
    """,
    "hashes": """
        HSET h a 1 b 2 => :2
        HSET h a 3 c 4 => :1
        HSET h a
        HSET h a 1 b
        HGET h a => $1 3
        HGET h z
        HGETALL h
        HGETALL missing
        HMGET h a z b
        HKEYS h
        HVALS h
        HLEN h => :3
        HEXISTS h a => :1
        HINCRBY h a 5 => :8
        HINCRBY h a x
        HINCRBY h a 9223372036854775807
        HSET h s text
        HINCRBY h s 1
        HSETNX h s 1 => :0
        HDEL h a b z => :2
        HDEL h c s => :2
        EXISTS h => :0
        SET str x
        HGET str f
        HSET str f v
        HGETALL str
        HINCRBY str f x
    """,
    "lists": """
        RPUSH l a b c d => :4
        LPUSH l z y => :6
        LRANGE l 0 -1
        LRANGE l 1 2
        LRANGE l 5 1 => *0
        LRANGE l -100 100
        LRANGE l a b
        LINDEX l 0
        LINDEX l -1
        LINDEX l 100
        LINDEX missing x
        LSET l 0 Y => +OK
        LSET l 100 x
        LSET missing 0 x
        LREM l 0 a => :1
        RPUSH l b c b
        LREM l -1 b => :1
        LREM l 1 b => :1
        LTRIM l 1 -2 => +OK
        LRANGE l 0 -1
        LPOP l 2
        RPOP l
        LPOP l 0
        LPOP l -1
        LPOP l x
        LPOP missing
        LPOP missing 1
        LPOP missing 0
        LLEN l
        RPUSH l 1 2 3
        LMOVE l m LEFT RIGHT
        LMOVE l l LEFT RIGHT
        LMOVE missing m LEFT LEFT
        LMOVE l m LEFT FOO
        RPOPLPUSH l m
        LRANGE m 0 -1
        LTRIM m 5 10
        EXISTS m => :0
        SET str x
        LPUSH str a
        LMOVE l str LEFT LEFT
        LRANGE str 0 -1
        LPOP str -1
        LPOP str 0
    """,
    "sets": """
        SADD s 3 1 2 2 => :3
        SADD s 1 => :0
        SMEMBERS s
        SMEMBERS missing
        SISMEMBER s 1 => :1
        SISMEMBER s x => :0
        SCARD s => :3
        SREM s 1 9 => :1
        SREM s 2 3 => :2
        EXISTS s => :0
        SET str x
        SADD str a
        SMEMBERS str
    """,
    "sorted sets": """
        ZADD z 1 a 2 b 3.2 c => :3
        ZADD z 5 a => :0
        ZADD z CH 6 a 7 d => :2
        ZADD z NX 1 a 9 e => :1
        ZADD z XX 1 a 9 f => :0
        ZADD z GT 0 a => :0
        ZADD z LT CH 0 a => :1
        ZADD z INCR 2.5 a
        ZADD z NX INCR 2.5 a
        ZADD z x a
        ZADD z 1
        ZADD z NX XX 1 a
        ZADD z inf top -inf bottom
        ZRANGE z 0 -1
        ZRANGE z 0 -1 WITHSCORES
        ZRANGE z 0 1 REV WITHSCORES
        ZRANGE z (1 +inf BYSCORE LIMIT 1 2
        ZRANGE z +inf (1 BYSCORE REV
        ZRANGE z 0 -1 LIMIT 0 1
        ZRANGE z a b
        ZRANGEBYSCORE z -inf (3.2 WITHSCORES
        ZRANGEBYSCORE z 2 9 LIMIT 0 1
        ZRANGEBYSCORE z x 9
        ZSCORE z c
        ZSCORE z top
        ZSCORE z missing
        ZCARD z
        ZCOUNT z -inf +inf
        ZINCRBY z 1.5 a
        ZINCRBY z x a
        ZREM z a missing => :1
        ZREMRANGEBYSCORE z 3 (9
        ZRANGE z 0 -1
        SET str x
        ZADD str 1 a
        ZADD str x a
        ZSCORE str a
    """,
    "streams": """
        XADD s 1-1 f v => $3 1-1
        XADD s 1-1 f v => -ERR The ID specified in XADD is equal or smaller than the target stream top item
        XADD s 0-5 f v => -ERR The ID specified in XADD is equal or smaller than the target stream top item
        XADD s 0-0 f v
        XADD s x f v
        XADD s 2 f v
        XADD s 2-* f v => $3 2-1
        XADD s * f v g w
        XADD s * f
        XADD s 1-1 f
        XLEN s => :4
        XADD t MAXLEN 2 1-1 a 1
        XADD t MAXLEN 2 1-2 a 2
        XADD t MAXLEN 2 1-3 a 3
        XADD t MAXLEN x 1-4 a 3
        XADD t NOMKSTREAM 1-4 a 4
        XADD u NOMKSTREAM 1-4 a 4
        XRANGE t - +
        XREVRANGE t + - COUNT 1
        XRANGE t 1-2 (1-4
        XRANGE t 1 1
        XRANGE t x +
        XRANGE t - + COUNT 0
        XRANGE t (- +
        XRANGE missing - +
        XDEL t 1-2 9-9 => :1
        XDEL t x
        XTRIM t MAXLEN 1
        XTRIM t MAXLEN = 0
        XTRIM t FOO 1
        XLEN t
        TYPE t => +stream
        XADD t 1-3 a 1
        XADD t 1-4 a 1
        XREAD COUNT 1 STREAMS t u 0 0
        XREAD STREAMS t 1-4
        XREAD STREAMS t $
        XREAD STREAMS t
        XREAD STREAMS t u 0
        XREAD COUNT x STREAMS t 0
        XREAD FOO 1 STREAMS t 0
        XREAD STREAMS t >
        XREAD BLOCK -1 STREAMS t $
        XREAD BLOCK x STREAMS t $
        SET str x
        XADD str 1-1 a b
        XREAD STREAMS str 0
        XLEN str
    """,
    "consumer groups": """
        XGROUP CREATE s g $
        XGROUP CREATE s g $ MKSTREAM => +OK
        XGROUP CREATE s g $ MKSTREAM
        XGROUP CREATE s h x
        XGROUP
        XGROUP CREATE s
        (pipeline) XADD s 1-1 f 1; XADD s 1-2 f 2; XADD s 1-3 f 3
        XREADGROUP GROUP g one COUNT 2 STREAMS s >
        XREADGROUP GROUP g two STREAMS s >
        XREADGROUP GROUP g two STREAMS s >
        XREADGROUP GROUP g one STREAMS s 0
        XREADGROUP GROUP g one STREAMS s 1-1
        XREADGROUP GROUP g three STREAMS s 0
        XPENDING s g
        XDEL s 1-1
        XREADGROUP GROUP g one STREAMS s 0
        XACK s g 1-1 1-2 9-9 => :2
        XACK s g x
        XACK s missing 1-1 => :0
        XACK missing g 1-1 => :0
        XPENDING s g
        XACK s g 1-3
        XPENDING s g
        XPENDING s missing
        XPENDING missing g
        XADD s 2-1 f 4
        XREADGROUP GROUP g one NOACK STREAMS s >
        XPENDING s g
        XREADGROUP GROUP g one STREAMS s $
        XREADGROUP GROUP missing one STREAMS s >
        XREADGROUP GROUP g one STREAMS missing >
        XREADGROUP GROUP g one STREAMS s x
        XREADGROUP g one COUNT 1 STREAMS s >
        XREADGROUP GROUP g one STREAMS s t >
        XGROUP DESTROY s g => :1
        XGROUP DESTROY s g => :0
        XGROUP DESTROY missing g
        SET str x
        XGROUP CREATE str g $
        XREADGROUP GROUP g one STREAMS str >
    """,
    "transactions": """
        MULTI => +OK
        SET k v => +QUEUED
        GET k => +QUEUED
        LPUSH k x
        HGETALL h
        ZSCORE z m
        b: GET k
        EXEC
        EXEC => -ERR EXEC without MULTI
        DISCARD => -ERR DISCARD without MULTI
        MULTI
        MULTI => -ERR MULTI calls can not be nested
        SET k w
        DISCARD => +OK
        GET k => $1 v
        MULTI
        SET k
        SET k w
        EXEC => -EXECABORT Transaction discarded because of previous errors.
        MULTI
        EXEC x
        EXEC
        WATCH k
        b: SET k other
        MULTI
        SET k mine
        EXEC
        GET k => $5 other
        WATCH k
        UNWATCH => +OK
        b: SET k again
        MULTI
        EXEC => *0
        WATCH k
        SET k self
        MULTI
        EXEC
        WATCH k
        MULTI
        WATCH k => -ERR WATCH inside MULTI is not allowed
        INCR k
        EXEC
        WATCH k
        b: FLUSHALL
        MULTI
        EXEC
        MULTI
        BLPOP q 0
        BLMOVE q r LEFT LEFT 0
        XREAD BLOCK 0 STREAMS x $
        SELECT 1
        SET one 1
        EXEC
        EXISTS one => :1
    """,
    "blocking": """
        RPUSH q 1 2
        BLPOP q 0
        BRPOP p q 0
        BLPOP q 0.01
        BLMOVE q r LEFT LEFT 0.01
        XREAD BLOCK 10 STREAMS s $
        BLPOP q -1
        BLPOP q x
        BLPOP q 99999999999999999
        b! BLPOP q p 0
        c! BLPOP q 0
        RPUSH q 1 2 3
        b?
        c?
        LRANGE q 0 -1
        DEL q
        b! BLPOP k1 k2 0                      # the key that was changed first decides, not the order of the request
        (pipeline) MULTI; RPUSH k2 x; RPUSH k1 y; EXEC
        b?
        b! BLMOVE src dst RIGHT LEFT 0        # one served client's move serves the next
        c! BLPOP dst 0
        RPUSH src moved
        b?
        c?
        SET str x
        b! BLMOVE src str LEFT LEFT 0
        c! BRPOP src 0
        RPUSH src 1 2
        b?
        c?
        LRANGE src 0 -1
        b! BLPOP typed 0                      # another type does not end the wait
        SET typed x
        DEL typed
        RPUSH typed x
        b?
        b! BLPOP q 0.02
        b?
        b: BLPOP str 0
        (pipeline) RPUSH w 1; BLPOP w 0; BLPOP w 0.01; PING
        b! BLPOP renamed 0
        RPUSH origin x
        RENAME origin renamed
        b?
    """,
    "blocking on streams": """
        b! XREAD BLOCK 0 STREAMS s t $ $
        c! XREAD COUNT 1 BLOCK 0 STREAMS s 0
        XADD s 1-1 f v
        b?
        c?
        XADD s 1-2 f v
        b: XREAD BLOCK 0 STREAMS s 1-1
        XGROUP CREATE s g $
        b! XREADGROUP GROUP g one BLOCK 0 STREAMS s >
        c! XREADGROUP GROUP g two BLOCK 0 STREAMS s >
        (pipeline) MULTI; XADD s 2-1 f 1; XADD s 2-2 f 2; EXEC
        b?
        XADD s 2-3 f 3
        c?
        XPENDING s g
        b: XREADGROUP GROUP g one BLOCK 10 STREAMS s >
        b! XREADGROUP GROUP g one BLOCK 0 STREAMS s >
        XGROUP DESTROY s g
        b?
        XGROUP CREATE s g $
        b! XREADGROUP GROUP g one BLOCK 0 STREAMS s >
        DEL s
        b?
        b! XREAD BLOCK 0 STREAMS s $
        XADD s 1-1 f v                        # a new stream: smaller ids than the old one's are new all the same
        b?
        b! XREAD BLOCK 0 STREAMS s $
        DEL s
        XADD s 1-1 f v                        # but one that is not after the id asked for is not
        XADD s 3-1 f v
        b?
    """,
    "publish and subscribe": """
        PUBLISH news nobody => :0
        b: SUBSCRIBE news sport
        b?
        c: PSUBSCRIBE n*
        PUBLISH news hello => :2
        b?
        c?
        PUBLISH sport goal => :1
        b?
        b: PING
        b: PING text
        b: UNSUBSCRIBE news
        PUBLISH news again => :1
        c?
        c: PUNSUBSCRIBE
        c: UNSUBSCRIBE
        c: UNSUBSCRIBE never
        c: PUNSUBSCRIBE n*
        PUBLISH news never => :0
        b: GET k
        b: UNSUBSCRIBE
        b: GET k
    """,
    "the connection": """
        CLIENT SETNAME me => +OK
        CLIENT GETNAME => $2 me
        CLIENT SETNAME 'a b'
        CLIENT SETNAME ''
        CLIENT GETNAME
        CLIENT ID
        CLIENT NO-EVICT ON => +OK
        CLIENT NO-EVICT x
        CLIENT SETINFO LIB-NAME x
        CLIENT NO-TOUCH on
        CLIENT
        AUTH password
        AUTH default x
        AUTH other x
        AUTH a b c
        HELLO
        HELLO 4
        HELLO x
        HELLO 2 x
        HELLO 2 SETNAME named
        CLIENT GETNAME => $5 named
        HELLO 3 AUTH default x SETNAME again
        HELLO 3 AUTH other x
        HGETALL missing
        HELLO 2
        HGETALL missing
        PING a b
        QUIT => +OK
    """,
}
