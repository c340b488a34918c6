"""RESP2 and RESP3, the protocol of Redis. A message is one request, and one reply or push.

An empty line or an empty array is no request: Redis answers nothing, and it belongs to the request after it. An
attribute belongs to the reply after it. Not modelled: streamed strings and aggregates, which Redis does not send, and
what follows PSYNC; there the stream is lost. The line end after a string is not looked at, as Redis does not either.

Source: the RESP3 specification, and Redis's `networking.c` for inline requests.
"""

from typing import Final

from simulator.live.framing.finder import END, LINE, Framing, Grammar, GrammarFinder, Skip

__all__ = ["resp"]

VALUES_PER_ELEMENT: Final = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
BLOBS: Final = b"$!="
LINES: Final = b"+-:_#,("


def resp() -> Framing:
    """Return the framing of one connection to Redis."""
    return Framing(GrammarFinder(_requests()), GrammarFinder(_replies()))


def _requests() -> Grammar:
    while True:
        line = yield LINE
        if line[:1] == b"*":
            count = _count(line)
            for _ in range(count):
                line = yield LINE
                length = _count(line)
                if line[:1] != b"$" or length < 0:
                    raise ValueError("a request is made of strings")
                yield Skip(length + 2)
            is_request = count > 0
        else:
            is_request = not line.isspace()  # inline
        if is_request:
            yield END


def _replies() -> Grammar:
    while True:
        values = 1
        while values:
            line = yield LINE
            kind = line[:1]
            values -= 1
            if kind in VALUES_PER_ELEMENT:
                values += max(0, _count(line)) * VALUES_PER_ELEMENT[kind] + (kind == b"|")
            elif kind in BLOBS:
                length = _count(line)
                if length >= 0:
                    yield Skip(length + 2)
            elif kind not in LINES:
                raise ValueError("no such type")
        yield END


def _count(line: bytes) -> int:
    """Return the number in a line; -1 stands for null."""
    count = int(line[1:])
    if count < -1:
        raise ValueError("no count")
    return count
