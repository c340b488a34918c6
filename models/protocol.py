"""The frames between a user and the gateway: one JSON object each, its kind in the field `type`.

Their public description is the AsyncAPI document beside the promises; a test holds the two together.
"""

import re
from collections.abc import Mapping
from typing import Annotated, TypeAlias

import msgspec

__all__ = [
    "CHAT",
    "Ack",
    "AgentEvent",
    "Cancel",
    "Cancelling",
    "ClientFrame",
    "ErrorFrame",
    "Hello",
    "InvalidFrameError",
    "LoggedOut",
    "Logout",
    "Message",
    "Refresh",
    "Reply",
    "ServerFrame",
    "Token",
    "Welcome",
    "decode_client",
    "decode_server",
    "encode",
]

EVENT_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
CHAT: Mapping[str, tuple[str, ...]] = {"triage": ()}
SEQUENCE_MAX = 2**53
# Beside its own errors msgspec raises these: for what is not UTF-8 or Unicode, and for what is nested without end.
UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


class InvalidFrameError(Exception):
    """The text is not a frame of the protocol in this direction."""


class _Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What all frames share: a field that is not known is a mistake."""


class Hello(_Frame, frozen=True, tag="hello"):
    """The first frame of a connection: who I am, and what I saw last.

    `token` is either a login (then a session begins, unless `session` names the one to go on with) or the token of a
    session. `user`, when given, must be the one whom the token names. `last_seen` is the number of the last reply,
    `last_event` the id of the last event; without the latter events begin with the connection.
    """

    token: str
    user: str | None = None
    session: str | None = None
    last_seen: int = 0
    last_event: str | None = None


class Message(_Frame, frozen=True, tag="message"):
    """A question. The id is the user's own; the context is that of the conversation, and comes back in the answer.

    `workflow` names the agents that work on it, each with those whose results it needs. What is longer than here could
    not be a key in the ledger, or would make every look into it slow.
    """

    id: Annotated[str, msgspec.Meta(max_length=64)]
    text: Annotated[str, msgspec.Meta(max_length=8192)]
    context: Annotated[str, msgspec.Meta(max_length=200)]
    workflow: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: CHAT)


class Cancel(_Frame, frozen=True, tag="cancel"):
    """Give up the message of this id."""

    id: str


class Refresh(_Frame, frozen=True, tag="refresh"):
    """Ask for a new token before the present one expires."""


class Logout(_Frame, frozen=True, tag="logout"):
    """End the session, on every connection."""


class Welcome(_Frame, frozen=True, tag="welcome"):
    """The connection is accepted; what was missed follows. The token is valid for `expires_in` seconds."""

    user: str
    session: str
    token: str
    expires_in: int


class Token(_Frame, frozen=True, tag="token"):
    """The new token."""

    token: str
    expires_in: int


class Ack(_Frame, frozen=True, tag="ack"):
    """The message is durable and will be answered."""

    id: str


class Cancelling(_Frame, frozen=True, tag="cancelling"):
    """The message will be answered as cancelled."""

    id: str


class LoggedOut(_Frame, frozen=True, tag="logged_out"):
    """The session has ended."""


class Reply(_Frame, frozen=True, tag="reply"):
    """The answer to message `to`, the user's number `seq` (1, 2, 3, ...): what came of the whole and of each agent.

    `status` is `done`, `partial` (an agent failed or was skipped) or `cancelled`; `nodes` says per agent `completed`,
    `degraded` (without what was away), `failed` or `skipped`.
    """

    to: str
    seq: int
    status: str
    text: str
    nodes: Mapping[str, str]


class AgentEvent(_Frame, frozen=True, tag="event"):
    """What an agent does on behalf of message `to`. Events are news: some may be lost, none comes twice or late."""

    id: str
    event: str
    to: str
    node: str
    attempt: int
    detail: str = ""


class ErrorFrame(_Frame, frozen=True, tag="error"):
    """What was refused: `code` says why, `id` which message, if one.

    After `unavailable` the outcome is unknown. All others are definite: `bad_request`, `overloaded`, `try_later`,
    `too_late`, `unauthorised`, `expired` and `going_away`.
    """

    code: str
    id: str | None = None


ClientFrame: TypeAlias = Hello | Message | Cancel | Refresh | Logout
ServerFrame: TypeAlias = Welcome | Token | Ack | Cancelling | LoggedOut | Reply | AgentEvent | ErrorFrame

_encoder = msgspec.json.Encoder()
_client_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_server_decoder: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)


def encode(frame: ClientFrame | ServerFrame) -> str:
    """Return the text of a frame."""
    return _encoder.encode(frame).decode()


def decode_client(text: str | bytes) -> ClientFrame:
    """Return what a user sent; raise InvalidFrameError."""
    try:
        frame = _client_decoder.decode(text)
    except UNREADABLE as error:
        raise InvalidFrameError(str(error)) from error
    if isinstance(frame, Hello):
        if not 0 <= frame.last_seen <= SEQUENCE_MAX:
            raise InvalidFrameError(f"last_seen={frame.last_seen} is no sequence number")
        if frame.last_event is not None and not EVENT_ID.fullmatch(frame.last_event):
            raise InvalidFrameError(f"last_event={frame.last_event!r} is no event's id")
    if isinstance(frame, Message) and "\0" in frame.id + frame.text + frame.context:
        raise InvalidFrameError("a message with the character NUL cannot be stored")
    return frame


def decode_server(text: str | bytes) -> ServerFrame:
    """Return what the gateway sent; raise InvalidFrameError."""
    try:
        return _server_decoder.decode(text)
    except UNREADABLE as error:
        raise InvalidFrameError(str(error)) from error
