"""How Python and fakeredis read numbers otherwise than Redis does: underscores, hexadecimal digits, endless ids."""

import re
from collections.abc import Callable, Mapping, Sequence

from simulator.services.redis.resp import Failure

__all__ = ["UNMODELLED_NUMBER", "has_unmodelled_number", "without_underscores"]

Words = Sequence[bytes]

UNMODELLED_NUMBER = Failure(
    "ERR wavetank: the simulated Redis does not model hexadecimal numbers, or stream ids of over 1000 digits"
)
NO_NUMBER = b"x"
HEXADECIMAL = re.compile(rb"\(?[+-]?0x", re.IGNORECASE)
LONG_ID = re.compile(rb"\(?[0-9]*-?[0-9]{1000,}|\(?[0-9]{1000,}-?[0-9]*")
ID_CHARACTERS_MAX = 1000


def _of_bounds(arguments: Words) -> Sequence[int]:
    return (1, 2)


def _of_scores(arguments: Words) -> Sequence[int]:
    """Return every second place from the end; among them may be options, which look like no number."""
    return range(len(arguments) - 2, 0, -2)


# The places of floating-point numbers.
_FLOATS: Mapping[str, Callable[[Words], Sequence[int]]] = {
    "ZADD": _of_scores,
    "ZINCRBY": lambda arguments: (1,),
    "ZCOUNT": _of_bounds,
    "ZRANGE": _of_bounds,
    "ZRANGEBYSCORE": _of_bounds,
    "ZREMRANGEBYSCORE": _of_bounds,
    "BLPOP": lambda arguments: (len(arguments) - 1,),
    "BRPOP": lambda arguments: (len(arguments) - 1,),
    "BLMOVE": lambda arguments: (4,),
}


def has_unmodelled_number(name: str, arguments: Words) -> bool:
    """Say whether a command has a number that Redis reads and the simulation does not."""
    if name[0] == "X":
        return any(len(word) > ID_CHARACTERS_MAX and LONG_ID.fullmatch(word) is not None for word in arguments)
    floats = _FLOATS.get(name)
    return floats is not None and any(HEXADECIMAL.match(arguments[place]) is not None for place in floats(arguments))


def without_underscores(name: str, arguments: Words) -> Words:
    """Return the arguments, those with an underscore in a number, which only Python reads, as what is no number."""
    floats = _FLOATS.get(name)
    if floats is None or not any(b"_" in arguments[place] for place in floats(arguments)):
        return arguments
    words = list(arguments)
    for place in floats(arguments):
        if b"_" in words[place]:
            words[place] = NO_NUMBER
    return words
