"""Where fakeredis answers differently from Redis 7.0.15, mended. Every entry is held by the conformance suite."""

import re
from collections.abc import Callable, Mapping, Sequence

from fakeredis._helpers import SimpleError
from fakeredis.model import ExpiringMembersSet, StreamEntryKey, StreamGroup, XStream, ZSet

from simulator.services.redis.blocking import SYNTAX_ERROR, WRONG_TYPE
from simulator.services.redis.keyspace import Keyspace
from simulator.services.redis.numbers import without_underscores
from simulator.services.redis.resp import NULL_ARRAY, Failure, Members, Reply

__all__ = ["run_command"]

Words = Sequence[bytes]

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
NOT_AN_INTEGER = Failure("ERR value is not an integer or out of range")
_NOT_A_SCORE = Failure("ERR min or max is not a float")
_INTSET = re.compile(rb"0|-?[1-9]\d{0,18}")
# A name no client uses: what a command says of its arguments when the key is not in the way.
_NO_KEY = b"\0wavetank: no such key\0"

# Redis looks at the arguments of these before the type of the key; fakeredis after it.
_ARGUMENTS_FIRST = ("HINCRBY", "ZADD", "ZRANGE", "ZRANGEBYSCORE", "ZINCRBY", "ZREMRANGEBYSCORE", "XADD", "XTRIM")


def run_command(keyspace: Keyspace, name: str, arguments: Words) -> Reply:
    """Run one data command on the selected database as Redis 7.0.15 would."""
    arguments = without_underscores(name, arguments)
    correct = _CORRECTED.get(name)
    reply = keyspace.run(name, arguments) if correct is None else correct(keyspace, arguments)
    if type(reply) is not Failure:
        return reply
    if reply == WRONG_TYPE and name in _ARGUMENTS_FIRST:
        without_key = run_command(keyspace, name, [_NO_KEY, *arguments[1:]])
        keyspace.forget(_NO_KEY)
        return without_key if isinstance(without_key, Failure) else reply
    return Failure(_reword(name.lower(), reply.text))


def _reword(name: str, text: str) -> str:
    if text == "ERR Wrong number of args calling Redis command from script":
        return f"ERR wrong number of arguments for '{name}' command"
    if text == f"ERR invalid expire time in {name}":
        return f"ERR invalid expire time in '{name}' command"
    return text.removeprefix("ERR ") if text.startswith("ERR BUSYGROUP") else text


def _integer(text: bytes) -> int | None:
    return int(text) if _INTSET.fullmatch(text) and INTEGER_MIN <= int(text) <= INTEGER_MAX else None


def _setex(keyspace: Keyspace, arguments: Words) -> Reply:
    return _set_with_expiry(keyspace, arguments, b"EX", "setex")


def _psetex(keyspace: Keyspace, arguments: Words) -> Reply:
    return _set_with_expiry(keyspace, arguments, b"PX", "psetex")


def _set_with_expiry(keyspace: Keyspace, arguments: Words, unit: bytes, name: str) -> Reply:
    """Set with an expiry to the millisecond, which fakeredis cuts to whole seconds."""
    key, duration, value = arguments
    reply = keyspace.run("SET", [key, value, unit, duration])
    return Failure(reply.text.replace("in set", f"in {name}")) if isinstance(reply, Failure) else reply


def _expire(keyspace: Keyspace, arguments: Words) -> Reply:
    return _expire_in(keyspace, arguments, "EXPIRE", unit_ms=1000)


def _pexpire(keyspace: Keyspace, arguments: Words) -> Reply:
    return _expire_in(keyspace, arguments, "PEXPIRE", unit_ms=1)


def _expire_in(keyspace: Keyspace, arguments: Words, name: str, *, unit_ms: int) -> Reply:
    """Let a key expire: at once if its time has come, which fakeredis leaves for later."""
    duration = _integer(arguments[1])
    if duration is not None and not INTEGER_MIN <= duration * unit_ms <= INTEGER_MAX - keyspace.now_ms:
        return Failure(f"ERR invalid expire time in '{name.lower()}' command")
    reply = keyspace.run(name, arguments)
    if reply == 1 and duration is not None and duration <= 0:
        keyspace.run("DEL", [arguments[0]])
    return reply


def _scan(keyspace: Keyspace, arguments: Words) -> Reply:
    return keyspace.run("SCAN", arguments) if arguments[0].isdigit() else Failure("ERR invalid cursor")


def _flushall(keyspace: Keyspace, arguments: Words) -> Reply:
    return _flush(keyspace, "FLUSHALL", arguments)


def _flushdb(keyspace: Keyspace, arguments: Words) -> Reply:
    return _flush(keyspace, "FLUSHDB", arguments)


def _flush(keyspace: Keyspace, name: str, arguments: Words) -> Reply:
    """Delete keys; SYNC and ASYNC differ in what a run cannot see."""
    known = not arguments or (len(arguments) == 1 and arguments[0].upper() in (b"SYNC", b"ASYNC"))
    return keyspace.run(name, []) if known else SYNTAX_ERROR


def _lpop(keyspace: Keyspace, arguments: Words) -> Reply:
    return _pop(keyspace, "LPOP", arguments)


def _rpop(keyspace: Keyspace, arguments: Words) -> Reply:
    return _pop(keyspace, "RPOP", arguments)


def _pop(keyspace: Keyspace, name: str, arguments: Words) -> Reply:
    """Pop; with a count, no list is no array, and popping none is no change for those who watch."""
    reply = keyspace.run(name, arguments, reports=list(arguments[1:]) != [b"0"])
    return NULL_ARRAY if reply is None and len(arguments) > 1 else reply


def _sadd(keyspace: Keyspace, arguments: Words) -> Reply:
    """Add members; for those who watch the set it is no change when all were there."""
    reply = keyspace.run("SADD", arguments, reports=False)
    if type(reply) is int and reply:
        keyspace.report(arguments[0])
    return reply


def _zadd(keyspace: Keyspace, arguments: Words) -> Reply:
    increments = any(word.upper() == b"INCR" for word in arguments[1:-2])
    return _increment(keyspace, "ZADD", arguments) if increments else keyspace.run("ZADD", arguments)


def _zincrby(keyspace: Keyspace, arguments: Words) -> Reply:
    return _increment(keyspace, "ZINCRBY", arguments)


def _increment(keyspace: Keyspace, name: str, arguments: Words) -> Reply:
    """Add to a score; for those who watch the sorted set it is no change when the score stays the same."""
    key, member = arguments[0], arguments[-1]
    before = _score(keyspace, key, member)
    reply = keyspace.run(name, arguments, reports=False)
    if _score(keyspace, key, member) != before:
        keyspace.report(key)
    return reply


def _score(keyspace: Keyspace, key: bytes, member: bytes) -> float | None:
    value = keyspace.value(key)
    return value.get(member) if isinstance(value, ZSet) else None


def _smembers(keyspace: Keyspace, arguments: Words) -> Reply:
    """List a set of integers by value, as Redis does, and any other by insertion, where Redis has no order."""
    value = keyspace.value(arguments[0])
    if value is None:
        return Members([])
    if not isinstance(value, ExpiringMembersSet):
        return WRONG_TYPE
    members = list(value._values)  # iterating over it goes through a set, whose order varies from run to run
    if all(_INTSET.fullmatch(member) for member in members):
        members.sort(key=int)
    return Members(members)


def _zrange(keyspace: Keyspace, arguments: Words) -> Reply:
    by_index = not any(word.upper() in (b"BYSCORE", b"BYLEX") for word in arguments[3:])
    reply = _range_of_scores(keyspace, "ZRANGE", arguments)
    return NOT_AN_INTEGER if reply == _NOT_A_SCORE and by_index else reply


def _zrangebyscore(keyspace: Keyspace, arguments: Words) -> Reply:
    return _range_of_scores(keyspace, "ZRANGEBYSCORE", arguments)


def _range_of_scores(keyspace: Keyspace, name: str, arguments: Words) -> Reply:
    """Read a range; Redis complains about the options before it complains about the bounds."""
    reply = keyspace.run(name, arguments)
    if reply != _NOT_A_SCORE:
        return reply
    options = keyspace.run(name, [_NO_KEY, b"0", b"0", *arguments[3:]])
    return options if isinstance(options, Failure) else reply


def _lindex(keyspace: Keyspace, arguments: Words) -> Reply:
    value = keyspace.value(arguments[0])
    return keyspace.run("LINDEX", arguments) if value is None or isinstance(value, list) else WRONG_TYPE


def _xrange(keyspace: Keyspace, arguments: Words) -> Reply:
    return _range(keyspace, "XRANGE", arguments)


def _xrevrange(keyspace: Keyspace, arguments: Words) -> Reply:
    return _range(keyspace, "XREVRANGE", arguments)


def _range(keyspace: Keyspace, name: str, arguments: Words) -> Reply:
    """Read a range; Redis answers COUNT 0 with no array, and a key that does not exist with an empty one."""
    reply = keyspace.run(name, arguments)
    count = _integer(arguments[4]) if len(arguments) > 4 else None
    nothing = reply == [] and count is not None and count <= 0 and keyspace.value(arguments[0]) is not None
    return NULL_ARRAY if nothing else reply


def _group(keyspace: Keyspace, key: bytes, name: bytes) -> StreamGroup | Failure | None:
    value = keyspace.value(key)
    if value is None:
        return None
    return value.group_get(name) if isinstance(value, XStream) else WRONG_TYPE


def _bad_id(texts: Words) -> Failure | None:
    """Say what is wrong with the first text that is not a stream id."""
    try:
        for text in texts:
            StreamEntryKey.parse_str(text)
    except SimpleError as error:
        return Failure(error.value)
    return None


def _xack(keyspace: Keyspace, arguments: Words) -> Reply:
    """Acknowledge all ids or, when one is not an id, none."""
    bad_id = _bad_id(arguments[2:]) if isinstance(_group(keyspace, *arguments[:2]), StreamGroup) else None
    return bad_id or keyspace.run("XACK", arguments)


def _xdel(keyspace: Keyspace, arguments: Words) -> Reply:
    """Delete all ids or, when one is not an id, none; fakeredis does not report the change."""
    key = arguments[0]
    value = keyspace.value(key)
    if value is None:
        return 0
    bad_id = _bad_id(arguments[1:]) if isinstance(value, XStream) else None
    reply = bad_id or keyspace.run("XDEL", arguments)
    if type(reply) is int and reply:
        keyspace.report(key)
    return reply


def _xpending(keyspace: Keyspace, arguments: Words) -> Reply:
    """Sum up what is pending: the count, the smallest and the greatest id, the count for each consumer by name."""
    if len(arguments) > 2:
        return Failure("ERR wavetank: the simulated Redis does not model 'XPENDING' with a range")
    group = _group(keyspace, arguments[0], arguments[1])
    if isinstance(group, Failure):
        return group
    if group is None:
        key, name = (word.decode("utf-8", "surrogateescape") for word in arguments)
        return Failure(f"NOGROUP No such key '{key}' or consumer group '{name}'")
    if not group.pel:
        return [0, None, None, NULL_ARRAY]
    counts: dict[bytes, int] = {}
    for entry in group.pel.values():
        counts[entry.consumer_name] = counts.get(entry.consumer_name, 0) + 1
    by_consumer = [[name, b"%d" % count] for name, count in sorted(counts.items())]
    return [len(group.pel), min(group.pel).encode(), max(group.pel).encode(), by_consumer]


def _xgroup_create(keyspace: Keyspace, arguments: Words) -> Reply:
    """Create a group, which for those who watch the stream is no change unless it creates the stream."""
    existed = keyspace.value(arguments[0]) is not None
    return keyspace.run("XGROUP|CREATE", arguments, reports=not existed)


def _xgroup_destroy(keyspace: Keyspace, arguments: Words) -> Reply:
    """Destroy a group, and wake those who wait for it, whom fakeredis does not tell."""
    reply = keyspace.run("XGROUP|DESTROY", arguments)
    if reply == 1:
        keyspace.report(arguments[0], changed=False)
    return reply


_CORRECTED: Mapping[str, Callable[[Keyspace, Words], Reply]] = {
    "SETEX": _setex,
    "PSETEX": _psetex,
    "EXPIRE": _expire,
    "PEXPIRE": _pexpire,
    "SCAN": _scan,
    "FLUSHALL": _flushall,
    "FLUSHDB": _flushdb,
    "LPOP": _lpop,
    "RPOP": _rpop,
    "SADD": _sadd,
    "SMEMBERS": _smembers,
    "ZADD": _zadd,
    "ZINCRBY": _zincrby,
    "ZRANGE": _zrange,
    "ZRANGEBYSCORE": _zrangebyscore,
    "LINDEX": _lindex,
    "XDEL": _xdel,
    "XGROUP|CREATE": _xgroup_create,
    "XRANGE": _xrange,
    "XREVRANGE": _xrevrange,
    "XACK": _xack,
    "XPENDING": _xpending,
    "XGROUP|DESTROY": _xgroup_destroy,
}
