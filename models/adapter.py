"""Adapters: how a chat platform with a protocol of its own is reached by live replays, without touching wavetank."""

import inspect
import traceback
from collections.abc import Iterable, Mapping
from typing import ClassVar, TypeAlias, get_args

import msgspec
import trio
from trio_websocket import ConnectionClosed, HandshakeError

from models.protocol import Ack, ErrorFrame, Reply, ServerFrame, Welcome

__all__ = [
    "FOREVER_S",
    "LOST",
    "POSSIBLE",
    "Adapter",
    "AdapterError",
    "Received",
    "check_adapter",
    "checked",
    "fault_in",
]

Received: TypeAlias = str | bytes
LOST = (
    OSError,
    EOFError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.EndOfChannel,
    trio.TooSlowError,
    ConnectionClosed,
    HandshakeError,
)
"""What an adapter raises when it cannot connect, or is connected no more. What became of what it sent nobody knows."""
POSSIBLE = ("connect", "leave", "ask", "stall", "cancel")
"""The operations of the platform that an adapter may say it can express."""
FOREVER_S = 10**9
"""For the `expires_in` of a welcome whose connection ends with no token."""


class AdapterError(Exception):
    """An adapter that does not do what adapters do. The message is one sentence, for whoever wrote it."""


class Adapter:
    """Speaks a platform's protocol for one user. Subclass it, and name the class in target.toml: "module:Class".

    An object is made when its user connects for the first time, and outlives their connections: what is to be
    remembered from one to the next is kept on `self`. Its methods run in Trio, so that any client library that runs on
    Trio will do. One task at a time is in `connect` or `receive`; others may be in `send`, `cancel` or `ping`.

    To raise one of `LOST`, such as an OSError or a trio.BrokenResourceError, says that the connection is lost: it is
    closed and made anew, and nobody knows what became of what was sent on it. What the platform refuses is no
    exception but an `ErrorFrame` of `classify`. Any other exception ends the replay, with one sentence that says where
    it was raised.
    """

    operations: ClassVar[tuple[str, ...]] = ("connect", "leave", "ask")
    """What can be done on the platform. A trace with another operation is not expressible. There may also be `stall`
    (read nothing for a while), which needs no method, and `cancel`, which does."""

    tells: ClassVar[tuple[type, ...]] = (Welcome, Ack, Reply, ErrorFrame)
    """The frames that `classify` may return. For others nobody waits, and what needs them is not judged."""

    def __init__(self, user: str, credentials: Mapping[str, str]) -> None:
        self.user = user
        """The user's name in plans: alice, bob, ..."""
        self.credentials = credentials
        """The secrets of the target's `credentials`, by their names there. They are shown nowhere."""

    async def connect(self, nursery: trio.Nursery, host: str, port: int) -> None:
        """Open a conversation and send what logs the user in; the answer is received like everything else.

        The address leads to the platform, whatever its real one is. Tasks that the conversation needs are started in
        the nursery, and are cancelled when it is over. It may take 2 s until the welcome has been received.
        """
        raise NotImplementedError

    async def send(self, id: str, text: str, context: str) -> None:
        """Say a message. `id` is unique, "alice-1"; `context` names the conversation that it belongs to, "alice/1".

        The frames that tell of it must name its id: what the platform calls it instead is the adapter's to remember.
        The context must reach the platform in some way, as a room, a title or words: only by it can be seen that an
        answer is in the wrong place.
        """
        raise NotImplementedError

    async def receive(self) -> Received:
        """Return the next frame as it came: what is worth knowing to `tokens` and `classify`."""
        raise NotImplementedError

    def classify(self, received: Received) -> ServerFrame | None:
        """Return what a frame says in the platform's own words (models/protocol.py); None when that is nothing.

        - `Welcome`: the connection is accepted. Its user is as the platform says it, its token is never shown; its
          `expires_in` is `FOREVER_S` where connections do not expire. Before it only an `ErrorFrame` makes sense: with
          the code "unauthorised" the user stays away, with another they try again.
        - `Ack`: the message is accepted, and will be answered. A platform that does not say so may have its first
          word about the message taken for that.
        - `Reply`: the answer to message `to`; `seq` counts this user's replies, from 1. `status` is "done",
          "partial" or "cancelled", and `nodes` says who answered: `{"triage": "completed"}`.
        - `ErrorFrame`: a refusal, of message `id`, or else of the connection. After the code "unavailable" nobody
          knows whether it was done; all other codes of the protocol say that it was not.
        """
        raise NotImplementedError

    def tokens(self, received: Received) -> Iterable[str]:
        """Return the secrets in a frame. They are concealed in whatever is recorded or told from now on."""
        return ()

    async def cancel(self, id: str) -> None:
        """Ask for a message to be given up. The answer is a `Cancelling`, and in the end a `Reply` that says so."""
        raise NotImplementedError

    async def ping(self) -> None:
        """Return when the platform has shown that it is there; after 2 s the connection counts as dead.

        Called every 5 s. By default nothing is asked, and nobody notices a dead connection.
        """

    async def close(self) -> None:
        """End the conversation; called once for each `connect`, also for one that failed half-way.

        If it is cancelled, as when a device is switched off, it must close at once, as the `aclose` of Trio's streams
        and of trio-websocket do.
        """
        raise NotImplementedError


def check_adapter(adapter: object) -> type[Adapter]:
    """Return what is a class of adapters. Raises AdapterError for what is none, or declares what cannot be."""
    if not isinstance(adapter, type) or not issubclass(adapter, Adapter):
        raise AdapterError(f"{adapter!r} is no adapter. Name a subclass of models.adapter.Adapter, not an object of it")
    unknown = [name for name in adapter.operations if name not in POSSIBLE]
    if unknown or "connect" not in adapter.operations:
        raise AdapterError(
            f"{adapter.__name__}.operations={adapter.operations!r} must hold 'connect', and of others only "
            f"{', '.join(POSSIBLE[1:])}"
        )
    if Welcome not in adapter.tells or any(kind not in get_args(ServerFrame) for kind in adapter.tells):
        known = ", ".join(kind.__name__ for kind in get_args(ServerFrame))
        raise AdapterError(f"{adapter.__name__}.tells must hold Welcome, and only frames of the platform: {known}")
    return adapter


def checked(adapter: Adapter, frame: object) -> ServerFrame | None:
    """Return what `classify` returned. Raises AdapterError for what is no frame, or none that the adapter declares."""
    if frame is None:
        return None
    if not isinstance(frame, adapter.tells):
        declared = ", ".join(kind.__name__ for kind in adapter.tells)
        raise AdapterError(
            f"{type(adapter).__name__}.classify returned {type(frame).__name__}, and it tells only {declared} (tells)"
        )
    try:
        return msgspec.convert(msgspec.to_builtins(frame), ServerFrame)  # type: ignore[no-any-return]
    except (TypeError, msgspec.ValidationError) as error:
        raise AdapterError(
            f"{type(adapter).__name__}.classify returned a wrong {type(frame).__name__}: {error}"
        ) from error


def fault_in(adapter: type[Adapter], error: BaseException) -> str | None:
    """Return one sentence for an error that an adapter is to blame for: what was raised, in which file and line.

    None for one that was raised without any code of the adapter's.
    """
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, (fault_in(adapter, each) for each in error.exceptions)), None)
    if isinstance(error, AdapterError):
        return f"adapter {error}."
    files = [inspect.getfile(each) for each in adapter.__mro__ if each is not object]
    places = [each for each in traceback.extract_tb(error.__traceback__) if each.filename in files]
    if not places:
        return None
    return (
        f"adapter {adapter.__module__}:{adapter.__qualname__} raised {type(error).__name__}: {error} "
        f"in {places[-1].name}, {places[-1].filename}:{places[-1].lineno}. Mend it there."
    )
