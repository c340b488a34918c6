"""WebSocket (RFC 6455), after the upgrade from HTTP. A message is a whole data message, or a control frame.

The fragments of a data message are one message. A control frame between them is one of its own, and is complete
first; the fragments before it are kept back with it, since bytes can only be kept back from some place on.
"""

from simulator.live.framing.finder import END, Grammar, Skip, Take

__all__ = ["frames"]

FINAL, MASKED = 0x80, 0x80
OPCODE, LENGTH = 0x0F, 0x7F
CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA
CONTROL_BYTES_MAX = 125
LENGTH_BYTES = {126: 2, 127: 8}
MASK_BYTES = 4


def frames(*, are_masked: bool) -> Grammar:
    """Follow the frames of one direction: those of a client are masked, those of a server are not."""
    is_in_fragments = False
    while True:
        flags, size = yield Take(2)
        opcode, is_final, length = flags & OPCODE, bool(flags & FINAL), size & LENGTH
        if bool(size & MASKED) != are_masked:
            raise ValueError("only a client masks")
        if opcode in (CLOSE, PING, PONG):
            if not is_final or length > CONTROL_BYTES_MAX:
                raise ValueError("a control frame is short and whole")
        elif opcode not in (CONTINUATION, TEXT, BINARY) or (opcode == CONTINUATION) != is_in_fragments:
            raise ValueError("no such frame here")
        else:
            is_in_fragments = not is_final
        if length in LENGTH_BYTES:
            length = int.from_bytes((yield Take(LENGTH_BYTES[length])), "big")
        yield Skip(length + MASK_BYTES * are_masked)
        if is_final:
            yield END
