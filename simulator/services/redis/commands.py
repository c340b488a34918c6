"""The commands the simulated Redis models, and what Redis 7.0 checks before it runs one.

A command is on this list when the conformance suite compares it with the real server. Everything else is refused:
one wrong answer is worse than a missing command. A subcommand is named as Redis names it: `CLIENT|SETNAME`.
"""

from collections.abc import Mapping, Sequence

from attrs import frozen

from simulator.services.redis.resp import Failure

__all__ = ["COMMANDS", "Command", "find_command"]


@frozen
class Command:
    """One modelled command. `arity` counts the name itself; negative means "at least"."""

    name: str
    arity: int
    writes: bool

    def accepts(self, count: int) -> bool:
        """Say whether a request of so many words, the name included, has the right number of arguments."""
        return count == self.arity if self.arity > 0 else count >= -self.arity


# Name and arity, as `COMMAND INFO` of Redis 7.0.15 tells them (a conformance test compares).
_READS = """
    PING -1, ECHO 2, HELLO -1, AUTH -2, SELECT 2, QUIT -1,
    CLIENT|SETNAME 3, CLIENT|GETNAME 2, CLIENT|ID 2, CLIENT|NO-EVICT 3,
    GET 2, MGET -2, STRLEN 2, EXISTS -2, TYPE 2, TTL 2, PTTL 2, KEYS 2, SCAN -2, DBSIZE 1,
    HGET 3, HGETALL 2, HLEN 2, HKEYS 2, HVALS 2, HMGET -3, HEXISTS 3,
    LRANGE 4, LLEN 2, LINDEX 3, SMEMBERS 2, SISMEMBER 3, SCARD 2,
    ZRANGE -4, ZSCORE 3, ZCARD 2, ZCOUNT 4, ZRANGEBYSCORE -4,
    XREAD -4, XRANGE -4, XREVRANGE -4, XLEN 2, XPENDING -3,
    MULTI 1, EXEC 1, DISCARD 1, WATCH -2, UNWATCH 1,
    PUBLISH 3, SUBSCRIBE -2, UNSUBSCRIBE -1, PSUBSCRIBE -2, PUNSUBSCRIBE -1
"""
_WRITES = """
    SET -3, GETDEL 2, MSET -3, SETNX 3, SETEX 4, PSETEX 4, INCR 2, INCRBY 3, DECR 2, DECRBY 3, APPEND 3,
    DEL -2, UNLINK -2, EXPIRE -3, PEXPIRE -3, PERSIST 2, RENAME 3, FLUSHALL -1, FLUSHDB -1,
    HSET -4, HSETNX 4, HDEL -3, HINCRBY 4,
    LPUSH -3, RPUSH -3, LPOP -2, RPOP -2, LTRIM 4, LREM 4, LSET 4, LMOVE 5, RPOPLPUSH 3, BLPOP -3, BRPOP -3, BLMOVE 6,
    SADD -3, SREM -3, ZADD -4, ZINCRBY 4, ZREM -3, ZREMRANGEBYSCORE 4,
    XADD -5, XDEL -3, XTRIM -4, XGROUP|CREATE -5, XGROUP|DESTROY 4, XREADGROUP -7, XACK -4
"""
_CONTAINERS: Mapping[str, int] = {"CLIENT": -2, "XGROUP": -2}

# Subcommands that came after 7.0: clients ask for them and are prepared for the refusal of an older server.
_UNKNOWN_TO_7_0 = ("CLIENT|SETINFO", "CLIENT|NO-TOUCH")


def _table(text: str, *, writes: bool) -> dict[str, Command]:
    rows = (row.split() for row in text.split(","))
    return {name: Command(name=name, arity=int(arity), writes=writes) for name, arity in rows}


COMMANDS: Mapping[str, Command] = {**_table(_READS, writes=False), **_table(_WRITES, writes=True)}


def find_command(request: Sequence[bytes]) -> Command | Failure:
    """Return the modelled command a request names, or the error Redis (or we) refuse it with."""
    name = request[0].decode("latin-1").upper()
    if name in _CONTAINERS:
        if len(request) < 2:
            return _wrong_arity(name)
        name += "|" + request[1].decode("latin-1").upper()
        if name in _UNKNOWN_TO_7_0:
            given = request[1].decode("latin-1")
            return Failure(f"ERR unknown subcommand '{given:.128}'. Try {name.partition('|')[0]} HELP.")
    command = COMMANDS.get(name)
    if command is None:
        return Failure(f"ERR wavetank: the simulated Redis does not model '{name.replace('|', ' '):.128}'")
    return command if command.accepts(len(request)) else _wrong_arity(name)


def _wrong_arity(name: str) -> Failure:
    return Failure(f"ERR wrong number of arguments for '{name.lower()}' command")
