"""The frames between a user and the gateway: one JSON object each, its kind in the field `type`."""

import re
from typing import TypeAlias

import msgspec

__all__ = [
    "Ack",
    "ClientFrame",
    "ErrorFrame",
    "Hello",
    "InvalidFrameError",
    "Message",
    "Reply",
    "ServerFrame",
    "Welcome",
    "decode_client",
    "decode_server",
    "encode",
]

SEQUENCE_NUMBER = re.compile(r"\d{1,19}-\d{1,19}")


class InvalidFrameError(Exception):
    """The text is not a frame of the protocol in this direction."""


class Hello(msgspec.Struct, frozen=True, tag_field="type", tag="hello"):
    """The first frame of a connection: who I am, and the sequence number of the last reply I saw."""

    token: str
    last_seen: str | None


class Message(msgspec.Struct, frozen=True, tag_field="type", tag="message"):
    """A question. The id is the user's own; the context comes back in the answer."""

    id: str
    text: str
    context: str


class Welcome(msgspec.Struct, frozen=True, tag_field="type", tag="welcome"):
    """The connection is accepted. Missed replies follow when it is resumed."""

    user: str
    resumed: bool


class Ack(msgspec.Struct, frozen=True, tag_field="type", tag="ack"):
    """The message is durable and will be answered."""

    id: str


class Reply(msgspec.Struct, frozen=True, tag_field="type", tag="reply"):
    """The answer to message `to`. Sequence numbers are opaque and grow with every reply to a user."""

    to: str
    seq: str
    text: str


class ErrorFrame(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """`unauthorised` and `bad_request` are definite; after `unavailable` the outcome is unknown."""

    code: str
    id: str | None


ClientFrame: TypeAlias = Hello | Message
ServerFrame: TypeAlias = Welcome | Ack | Reply | ErrorFrame

_encoder = msgspec.json.Encoder()
_client_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(Hello | Message)
_server_decoder: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(Welcome | Ack | Reply | ErrorFrame)


def encode(frame: ClientFrame | ServerFrame) -> str:
    """Return the text of a frame."""
    return _encoder.encode(frame).decode()


def decode_client(text: str | bytes) -> ClientFrame:
    """Return what a user sent; raise InvalidFrameError."""
    try:
        frame = _client_decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise InvalidFrameError(str(error)) from error
    if isinstance(frame, Hello) and frame.last_seen is not None and not SEQUENCE_NUMBER.fullmatch(frame.last_seen):
        raise InvalidFrameError(f"last_seen={frame.last_seen!r} is no sequence number")
    return frame


def decode_server(text: str | bytes) -> ServerFrame:
    """Return what the gateway sent; raise InvalidFrameError."""
    try:
        return _server_decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise InvalidFrameError(str(error)) from error
