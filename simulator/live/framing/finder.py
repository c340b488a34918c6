"""Finding where messages end in a stream of bytes that arrives in any pieces, by a grammar that is a generator.

A grammar yields what it needs next and is sent what it asked for, so that it reads like its protocol. It asks for
heads only: bodies are passed over, and nothing is kept of them. It raises ValueError, or returns, where the stream
cannot be followed any further.
"""

import enum
from collections.abc import Generator
from typing import Final, Protocol, TypeAlias

import attrs

__all__ = ["END", "HEAD_BYTES_MAX", "LINE", "Finder", "Framing", "Grammar", "GrammarFinder", "Need", "Skip", "Take"]

HEAD_BYTES_MAX = 64 * 1024
"""The longest line that is read: what Redis takes at most, and more than servers of HTTP do."""


class Finder(Protocol):
    """Finds where messages end in one direction of a connection."""

    @property
    def is_lost(self) -> bool:
        """Whether the stream could not be followed: from then on each piece that is fed counts as a message."""

    def feed(self, data: bytes) -> list[int]:
        """Take the next bytes; return the offsets in them after which a message is complete, in order. Never raises."""


@attrs.frozen
class Framing:
    """Both directions of one connection. They may know of each other: feed the bytes in the order of their arrival."""

    to_upstream: Finder
    to_client: Finder


class Take(int):
    """So many bytes, which the grammar is sent."""


class Skip(int):
    """So many bytes of a body, which nobody looks at."""


class Mark(enum.Enum):
    """What has no length."""

    LINE = enum.auto()
    END = enum.auto()


LINE: Final = Mark.LINE
"""All up to a line feed, which the grammar is sent, the line feed included."""
END: Final = Mark.END
"""A message is complete. The grammar goes on only when there are more bytes, and knows by then what was answered."""

Need: TypeAlias = Take | Skip | Mark
Grammar: TypeAlias = Generator[Need, bytes, None]


class GrammarFinder:
    """Follows a stream by its grammar. What it keeps is at most HEAD_BYTES_MAX of an unfinished head."""

    def __init__(self, grammar: Grammar) -> None:
        self.is_lost = False
        self._grammar = grammar
        self._need: Need = END
        self._head = b""

    def feed(self, data: bytes) -> list[int]:
        """Take the next bytes; return the offsets in them after which a message is complete."""
        ends: list[int] = []
        if not self.is_lost:
            try:
                self._follow(data, ends)
            except (ValueError, StopIteration):
                self.is_lost = True
                self._head = b""
        if self.is_lost and data:
            ends.append(len(data))
        return ends

    def _follow(self, data: bytes, ends: list[int]) -> None:
        # In one loop, because every command of a Redis client goes round it a dozen times.
        size, at = len(data), 0
        send = self._grammar.send
        need = self._need
        while at < size:
            if need is END:
                need = next(self._grammar)
            if type(need) is Skip:
                at += need
                if at > size:
                    need = Skip(at - size)
                    break
                need = send(b"")
            else:
                end = data.find(b"\n", at) + 1 if need is LINE else at + need - len(self._head)  # type: ignore[operator]
                is_whole = 0 < end <= size
                head = self._head + (data[at:end] if is_whole else data[at:])
                if len(head) > HEAD_BYTES_MAX:
                    raise ValueError("a head without an end")
                if not is_whole:
                    self._head = head
                    break
                self._head = b""
                at = end
                need = send(head)
            while need == 0:  # a body without bytes: what follows it must not wait for any
                need = send(b"")
            if need is END:
                ends.append(at)
        self._need = need
