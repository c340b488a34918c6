"""Commands that wait for a key: BLPOP, BRPOP, BLMOVE, XREAD and XREADGROUP.

As in Redis, a waiting client does not retry when it wakes up: the command that made a key ready serves the clients
waiting for it, first come first served, before its own client's next command runs. So nothing can get in between.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from attrs import frozen
from fakeredis._helpers import SimpleError
from fakeredis.model import StreamEntryKey, StreamGroup, StreamRangeTest, XStream

from simulator.services.redis.keyspace import Keyspace
from simulator.services.redis.resp import NULL_ARRAY, Failure, Pairs, Reply

__all__ = ["SYNTAX_ERROR", "WRONG_TYPE", "Answer", "Wait", "blmove", "blpop", "brpop", "read_streams"]

WRONG_TYPE = Failure("WRONGTYPE Operation against a key holding the wrong kind of value")
SYNTAX_ERROR = Failure("ERR syntax error")
_FLOAT = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)


@frozen
class Wait:
    """The command must wait for one of these keys. `serve` answers when a key is ready, or says None for "not yet".

    `timeout_s` may be infinite. `in_transaction` is the answer where waiting is not allowed, within MULTI.
    """

    keys: Sequence[bytes]
    timeout_s: float
    serve: Callable[[bytes], Reply]
    in_transaction: Reply = NULL_ARRAY


Answer: TypeAlias = "Reply | Wait"


def blpop(keyspace: Keyspace, arguments: Sequence[bytes]) -> Answer:
    """BLPOP key [key ...] timeout."""
    return _pop(keyspace, "LPOP", arguments)


def brpop(keyspace: Keyspace, arguments: Sequence[bytes]) -> Answer:
    """BRPOP key [key ...] timeout."""
    return _pop(keyspace, "RPOP", arguments)


def _pop(keyspace: Keyspace, pop: str, arguments: Sequence[bytes]) -> Answer:
    timeout_s = _timeout_s(arguments[-1])
    if isinstance(timeout_s, Failure):
        return timeout_s
    keys = arguments[:-1]
    for key in keys:
        value = keyspace.value(key)
        if value is not None and not isinstance(value, list):
            return WRONG_TYPE
        if value:
            return [key, keyspace.run(pop, [key])]

    def serve(key: bytes) -> Reply:
        return [key, keyspace.run(pop, [key])] if isinstance(keyspace.value(key), list) else None

    return Wait(keys=keys, timeout_s=timeout_s, serve=serve)


def blmove(keyspace: Keyspace, arguments: Sequence[bytes]) -> Answer:
    """BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout."""
    source, move = arguments[0], partial(keyspace.run, "LMOVE", arguments[:4])
    if any(where.upper() not in (b"LEFT", b"RIGHT") for where in arguments[2:4]):
        return SYNTAX_ERROR
    timeout_s = _timeout_s(arguments[4])
    if isinstance(timeout_s, Failure):
        return timeout_s
    if keyspace.value(source) is not None:
        return move()

    def serve(key: bytes) -> Reply:
        return move() if isinstance(keyspace.value(key), list) else None

    return Wait(keys=[source], timeout_s=timeout_s, serve=serve, in_transaction=None)


def _timeout_s(text: bytes) -> float | Failure:
    if not _FLOAT.fullmatch(text):
        return Failure("ERR timeout is not a float or out of range")
    timeout_s = float(text)
    if timeout_s < 0 or timeout_s * 1000 > 2**63 - 1:  # 7.0 takes what overflows for negative
        return Failure("ERR timeout is negative")
    return timeout_s or math.inf


@frozen
class _Group:
    """The group and the consumer on whose behalf XREADGROUP reads."""

    name: bytes
    consumer: bytes
    acknowledge: bool


@frozen
class _StreamRead:
    """The options of XREAD or XREADGROUP. `after` has the id for each key, as given; `timeout_s` None: do not wait."""

    keys: Sequence[bytes]
    after: Sequence[bytes]
    count: int | None
    timeout_s: float | None
    group: _Group | None


def read_streams(keyspace: Keyspace, arguments: Sequence[bytes], *, name: str) -> Answer:
    """XREAD and XREADGROUP: entries after an id, for a group also those delivered before and not acknowledged."""
    try:
        options = _parse_stream_read(arguments, name)
        after = [_resolve(keyspace, options, key, text) for key, text in zip(options.keys, options.after, strict=True)]
        found: list[tuple[bytes, Reply]] = []
        for key, start in zip(options.keys, after, strict=True):
            entries = _read(keyspace, options, key, start)
            if entries is not None:
                found.append((key, entries))
    except SimpleError as error:
        return Failure(error.value)
    if found or options.timeout_s is None:
        return _stream_reply(found)
    starts = dict(zip(options.keys, after, strict=True))

    def serve(key: bytes) -> Reply:
        failure = _lost(keyspace, options, key)
        if failure is not None:
            return failure
        entries = _read(keyspace, options, key, starts[key])
        return None if entries is None else _stream_reply([(key, entries)])

    return Wait(keys=options.keys, timeout_s=options.timeout_s, serve=serve)


def _stream_reply(found: Sequence[tuple[bytes, Reply]]) -> Reply:
    return Pairs(found) if found else NULL_ARRAY


def _lost(keyspace: Keyspace, options: _StreamRead, key: bytes) -> Failure | None:
    """Say why a group's client cannot go on waiting for this key. One without a group waits for a new stream."""
    if options.group is None:
        return None
    value = keyspace.value(key)
    if value is None:
        return Failure("UNBLOCKED the stream key no longer exists")
    if not isinstance(value, XStream):
        return WRONG_TYPE
    if value.group_get(options.group.name) is None:
        return Failure("NOGROUP the consumer group this client was blocked on no longer exists")
    return None


def _read(keyspace: Keyspace, options: _StreamRead, key: bytes, start: StreamEntryKey | bytes) -> Reply:
    """Return the entries to deliver, or None when there is nothing that would end a wait."""
    stream = keyspace.value(key)
    if not isinstance(stream, XStream):
        return None
    if options.group is None:
        assert isinstance(start, StreamEntryKey)
        entries = stream.irange(StreamRangeTest(start, True), StreamRangeTest.decode(b"+"), count=options.count)
        return entries or None
    group: StreamGroup | None = stream.group_get(options.group.name)
    assert group is not None, "the group is looked up before it is read for"
    assert isinstance(start, bytes)
    entries = group.group_read(options.group.consumer, start, options.count, not options.group.acknowledge)
    if start == b">":
        return entries or None
    # What was delivered before and deleted since is listed without its fields.
    return [[entry[0], NULL_ARRAY if entry[1] is None else entry[1]] for entry in entries]


def _resolve(keyspace: Keyspace, options: _StreamRead, key: bytes, text: bytes) -> StreamEntryKey | bytes:
    """Check one key and its id: an id to read after; for a group the text itself, `>` or an id."""
    value = keyspace.value(key)
    if value is not None and not isinstance(value, XStream):
        raise SimpleError(WRONG_TYPE.text)
    if options.group is not None:
        if value is None or value.group_get(options.group.name) is None:
            key_text, group_text = (
                key.decode("utf-8", "surrogateescape"),
                options.group.name.decode("utf-8", "surrogateescape"),
            )
            raise SimpleError(
                f"NOGROUP No such key '{key_text}' or consumer group '{group_text}' in XREADGROUP with GROUP option"
            )
        if text == b"$":
            raise SimpleError(
                "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this "
                "consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return "
                "an empty result set."
            )
        if text != b">":
            StreamEntryKey.parse_str(text)
        return text
    if text == b"$":
        return StreamEntryKey(0, 0) if value is None else value.last_id
    if text == b">":
        raise SimpleError(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."
        )
    return StreamEntryKey.parse_str(text)


def _parse_stream_read(arguments: Sequence[bytes], name: str) -> _StreamRead:
    timeout_s, count, group, acknowledge = None, None, None, True
    words = list(arguments)
    while words:
        option = words.pop(0).upper()
        if option == b"BLOCK" and words:
            timeout_s = _timeout_ms(words.pop(0))
        elif option == b"COUNT" and words:
            count = _count(words.pop(0))
        elif option == b"STREAMS" and words:
            break
        elif option == b"GROUP" and len(words) >= 2:
            if name != "XREADGROUP":
                raise SimpleError("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
            group = (words.pop(0), words.pop(0))
        elif option == b"NOACK":
            if name != "XREADGROUP":
                raise SimpleError("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
            acknowledge = False
        else:
            raise SimpleError(SYNTAX_ERROR.text)
    if not words:
        raise SimpleError(SYNTAX_ERROR.text)
    if len(words) % 2:
        raise SimpleError("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")
    if name == "XREADGROUP" and group is None:
        raise SimpleError("ERR Missing GROUP option for XREADGROUP")
    half = len(words) // 2
    reader = None if group is None else _Group(name=group[0], consumer=group[1], acknowledge=acknowledge)
    return _StreamRead(keys=words[:half], after=words[half:], count=count, timeout_s=timeout_s, group=reader)


def _timeout_ms(text: bytes) -> float:
    if not re.fullmatch(rb"-?\d{1,18}", text):
        raise SimpleError("ERR timeout is not an integer or out of range")
    if int(text) < 0:
        raise SimpleError("ERR timeout is negative")
    return int(text) / 1000 or math.inf


def _count(text: bytes) -> int | None:
    """Read COUNT; zero and less mean all."""
    if not re.fullmatch(rb"-?\d{1,18}", text):
        raise SimpleError("ERR value is not an integer or out of range")
    return int(text) if int(text) > 0 else None
