"""A device that speaks the protocol of another platform, as its adapter does."""

from collections.abc import Awaitable, Callable, Mapping

import trio

from models.adapter import LOST, Adapter, checked
from models.device import CLOSE_TIMEOUT_S, CONNECT_TIMEOUT_S, PING_INTERVAL_S, PING_TIMEOUT_S, Device, Outcome
from models.protocol import ErrorFrame, ServerFrame, Welcome

__all__ = ["AdaptedClient"]


class AdaptedClient(Device):
    """What the platform's own client is, for an adapter.

    `on_frame` is told what the adapter makes of each frame, after `on_secret` was told the secrets in it. `on_error`
    is given what is raised here and is no loss of the connection; what it raises in turn ends everything.
    """

    lost = LOST

    def __init__(
        self,
        *,
        adapter: Adapter,
        host: str,
        port: int,
        on_frame: Callable[[ServerFrame], None],
        on_state: Callable[[str], None],
        on_secret: Callable[[str], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        super().__init__(user=adapter.user, on_state=on_state)
        self._adapter = adapter
        self._host = host
        self._port = port
        self._on_frame = on_frame
        self._on_secret = on_secret
        self._on_error = on_error
        self._is_welcomed = False

    @property
    def is_connected(self) -> bool:
        """Whether the platform has welcomed the present connection."""
        return self._is_welcomed

    async def send(self, id: str, text: str, context: str, workflow: Mapping[str, tuple[str, ...]]) -> Outcome:
        """Send a message and wait for its acknowledgement. Other platforms have no workflows."""
        return await self._say(id, lambda: self._adapter.send(id, text, context))

    async def cancel(self, id: str) -> Outcome:
        """Ask for a message to be given up."""
        return await self._say(f"cancel {id}", lambda: self._adapter.cancel(id))

    async def _say(self, key: str, send: Callable[[], Awaitable[None]]) -> Outcome:
        async def send_whole() -> None:
            sent = False
            try:
                await send()
                sent = True
            finally:
                if not sent and self._conversation is not None:
                    # Part of it may be out, so nothing can follow it on this connection.
                    self._conversation.cancel()

        try:
            return (await self._request(key, send_whole)).outcome
        except Exception as error:
            self._on_error(error)
            raise

    async def _connect_once(self) -> bool:
        """Connect and stay until the connection ends; say whether it was welcomed."""
        was_welcomed = False
        try:
            async with trio.open_nursery() as nursery:
                try:
                    with trio.fail_after(CONNECT_TIMEOUT_S):
                        await self._adapter.connect(nursery, self._host, self._port)
                        was_welcomed = await self._greeted()
                    if was_welcomed:
                        with trio.CancelScope() as self._conversation:
                            await self._converse()
                finally:
                    self._conversation = None
                    with trio.move_on_after(CLOSE_TIMEOUT_S):
                        await self._adapter.close()
                nursery.cancel_scope.cancel()
        except* LOST:
            pass
        except* Exception as errors:
            self._on_error(errors)
            raise
        return was_welcomed

    async def _greeted(self) -> bool:
        while True:
            frame = await self._received()
            if isinstance(frame, ErrorFrame) and frame.code == "unauthorised":
                self._is_wanted, self._stays_away = False, "refused"
            if isinstance(frame, Welcome | ErrorFrame):
                return isinstance(frame, Welcome)

    async def _converse(self) -> None:
        self._is_welcomed = True
        self._on_state("connected")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, nursery.cancel_scope)
                while True:
                    await self._may_read()
                    frame = await self._received()
                    if isinstance(frame, ErrorFrame) and frame.code == "unauthorised" and not self.logs_in_again:
                        self._is_wanted, self._stays_away = False, "ended"
        finally:
            self._is_welcomed = False
            self._give_up_waiting()
            self._on_state("disconnected")

    async def _received(self) -> ServerFrame | None:
        """Return what the next frame says, after it was told of."""
        received = await self._adapter.receive()
        for secret in self._adapter.tokens(received):
            self._on_secret(secret)
        frame = checked(self._adapter, self._adapter.classify(received))
        if frame is not None:
            self._note_answer(frame)
            self._on_frame(frame)
        return frame

    async def _watch(self, connection: trio.CancelScope) -> None:
        """Give up a connection at which the platform is silent for too long."""
        while True:
            await trio.sleep(PING_INTERVAL_S)
            with trio.move_on_after(PING_TIMEOUT_S) as waiting:
                await self._adapter.ping()
            if waiting.cancelled_caught:
                connection.cancel()
