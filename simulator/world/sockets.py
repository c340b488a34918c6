"""Sockets of the simulated network, as unmodified Trio and AnyIO programs use them."""

import errno
import socket as stdlib_socket
from collections.abc import Awaitable
from socket import AddressFamily, SocketKind
from typing import Any

import outcome
import trio
import trio.abc
import trio.socket

from simulator.errors import UnsupportedError
from simulator.world.connection import WINDOW_BYTES, End, Mark, os_error
from simulator.world.host import Incarnation, current_host
from simulator.world.network import Listener, Network

__all__ = ["Resolver", "SimulatedSocket", "SocketFactory"]


class SimulatedSocket(trio.socket.SocketType):
    """One TCP socket. It belongs to the host whose task made it, and dies with that host's incarnation."""

    def __init__(self, network: Network, owner: Incarnation, end: End | None = None) -> None:
        super().__init__()
        self._network = network
        self._owner = owner
        self._end = end
        self._listener: Listener | None = None
        self._bound: tuple[str, int] | None = end.address if end is not None else None
        self._closed = False
        owner.sockets[self] = None

    family = AddressFamily.AF_INET
    type = SocketKind.SOCK_STREAM
    proto = 0

    @property
    def _sock(self) -> "SimulatedSocket":
        """AnyIO asks the underlying socket for its addresses and options: they are this object's own."""
        return self

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802 - Trio's name
        """Whether the end of the stream was sent."""
        return self._end is not None and self._end.shut

    def __enter__(self) -> "SimulatedSocket":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def peer(self) -> str:
        """The host at the other end, or "" for a socket that listens or is not connected yet."""
        return self._end.other.host if self._end is not None else ""

    # Addresses and options

    def fileno(self) -> int:
        """Return a number that is no file's: only "open" (not -1) is meant by it."""
        return -1 if self._closed else 1_000_000

    def getsockname(self) -> tuple[str, int]:
        """Return this socket's own address."""
        return self._bound or ("0.0.0.0", 0)

    def getpeername(self) -> tuple[str, int]:
        """Return the address at the other end."""
        if self._end is None:
            raise os_error(errno.ENOTCONN)
        return self._end.other.address

    def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> Any:
        """Return 0 for every option, except whether this is a listening socket."""
        if (level, optname) == (stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ACCEPTCONN):
            return int(self._listener is not None)
        return 0 if buflen is None else bytes(buflen)

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """Accept and ignore: no option changes what is modelled."""

    def is_readable(self) -> bool:
        """Whether a receive would return at once: data, the end of the stream, or an error."""
        return self._end is not None and bool(self._end.arrived or self._end.eof or self._end.error)

    # Listening

    async def bind(self, address: tuple[str, int]) -> None:
        """Take a local address; port 0 means any."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        host, port = address[0] or "0.0.0.0", int(address[1])
        self._bound = (host, port or self._network.ephemeral_port(self._owner.host.name))

    def listen(self, backlog: int = 128) -> None:
        """Accept connections from now on. Raises OSError (EADDRINUSE, ENETDOWN)."""
        self._check_open()
        if self._bound is None:
            self._bound = ("0.0.0.0", self._network.ephemeral_port(self._owner.host.name))
        self._listener = self._network.listen(self._owner.host.name, self._bound[1], self._bound[0])

    async def accept(self) -> tuple["SimulatedSocket", tuple[str, int]]:
        """Wait for the next connection."""
        listener = self._listener
        if listener is None:
            raise os_error(errno.EINVAL)
        if listener.queue:
            await trio.lowlevel.checkpoint()
        while not listener.queue:
            if listener.closed:
                raise os_error(errno.EBADF)
            await listener.waiting.park()
        self._check_open()
        end = listener.queue.popleft()
        return SimulatedSocket(self._network, self._owner, end), end.other.address

    # Connecting and streaming

    async def connect(self, address: tuple[str, int]) -> None:
        """Open a connection. Raises OSError: refused, timed out, no such name, network down."""
        self._check_open()
        ip, port = address[0], int(address[1])
        if self._network.host_at(ip, self._owner.host.name) is None:
            ip = (await trio.socket.getaddrinfo(ip, port))[0][4][0]  # type: ignore[assignment]
        if self._bound is None:
            self._bound = (self._owner.host.address, self._network.ephemeral_port(self._owner.host.name))
        task = trio.lowlevel.current_task()

        def done(result: End | OSError) -> None:
            answer = outcome.Error(result) if isinstance(result, OSError) else outcome.Value(result)
            trio.lowlevel.reschedule(task, answer)

        def abort(_: object) -> trio.lowlevel.Abort:
            give_up()
            return trio.lowlevel.Abort.SUCCEEDED

        give_up = self._network.connect(self._owner.host.name, self._bound[1], (ip, port), done)
        end: End = await trio.lowlevel.wait_task_rescheduled(abort)
        if self._closed or not self._owner.alive:
            end.close()
            self._check_open()
        self._end = end

    async def send(self, data: Any, flags: int = 0) -> int:
        """Send some of the bytes; waits while the flow-control window is full. Returns how many were sent."""
        end = self._connected()
        await trio.lowlevel.checkpoint()
        while True:
            self._check_open()
            if end.error is not None:
                raise end.error
            if end.shut:
                raise os_error(errno.EPIPE)
            if end.unread < WINDOW_BYTES:
                break
            await end.writers.park()
        return self.send_at_once(data)

    def send_at_once(self, data: Any) -> int:
        """Send as much as the flow-control window has room for. Returns how much; 0 where `send` would raise."""
        end = self._end
        if end is None or self._closed or end.error is not None or end.shut or not self._owner.alive:
            return 0
        chunk = bytes(data[: max(0, WINDOW_BYTES - end.unread)])
        if chunk:
            end.unread += len(chunk)
            end.transmit(chunk)
        return len(chunk)

    async def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Receive at least one byte; b"" at the end of the stream."""
        if flags and flags & stdlib_socket.MSG_PEEK:  # an enum's `&` costs as much as the rest of the check
            raise os_error(errno.EOPNOTSUPP)
        end = self._connected()
        if end.arrived or end.eof or end.error is not None:
            await trio.lowlevel.checkpoint()
        while True:
            self._check_open()
            if end.arrived:
                return end.take(bufsize)
            if end.eof:
                return b""
            if end.error is not None:
                raise end.error
            await end.readers.park()

    async def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a buffer; returns how many bytes."""
        data = await self.recv(nbytes or len(buffer), flags)
        buffer[: len(data)] = data
        return len(data)

    async def wait_writable(self) -> None:
        """Wait until a send would not block."""
        end = self._connected()
        await trio.lowlevel.checkpoint()
        while end.unread >= WINDOW_BYTES and end.error is None and not self._closed:
            await end.writers.park()
        self._check_open()

    def shutdown(self, how: int) -> None:
        """Send the end of the stream (SHUT_WR, SHUT_RDWR)."""
        end = self._connected()
        if how != stdlib_socket.SHUT_RD and not end.shut and end.error is None:
            end.shut = True
            end.transmit(Mark.END)

    def close(self) -> None:
        """Close the socket; whoever waits in a call on it is woken with an error."""
        if self._closed:
            return
        self._closed = True
        self._owner.sockets.pop(self, None)
        if self._listener is not None:
            self._network.close_listener(self._listener)
        if self._end is not None:
            self._end.close()

    def detach(self) -> int:
        """Refuse: there is no file descriptor to hand out."""
        raise UnsupportedError("a simulated socket has no file descriptor to detach. Keep the socket object instead.")

    def _connected(self) -> End:
        self._check_open()
        if self._end is None:
            raise os_error(errno.ENOTCONN)
        return self._end

    def _check_open(self) -> None:
        if self._closed:
            raise os_error(errno.EBADF)
        if not self._owner.alive:
            raise os_error(errno.ENETDOWN)


class SocketFactory(trio.abc.SocketFactory):
    """Makes simulated sockets for every task that runs on a host."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def socket(
        self,
        family: AddressFamily | int = AddressFamily.AF_INET,
        type: SocketKind | int = SocketKind.SOCK_STREAM,
        proto: int = 0,
    ) -> SimulatedSocket:
        """Make a TCP socket. IPv6 and UDP are refused as a machine without them would."""
        if family != AddressFamily.AF_INET:
            raise os_error(errno.EAFNOSUPPORT)
        if type != SocketKind.SOCK_STREAM:
            raise os_error(errno.EPROTONOSUPPORT)
        return SimulatedSocket(self._network, current_host())


class Resolver(trio.abc.HostnameResolver):
    """Resolves the names of the world's hosts, shared ones included, and nothing else."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def getaddrinfo(  # type: ignore[override]
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Awaitable[list[Any]]:
        """Resolve a name to its IPv4 addresses: one, unless it is shared. Raises socket.gaierror for an unknown one."""
        return self._getaddrinfo(host, port, type or SocketKind.SOCK_STREAM)

    async def _getaddrinfo(self, host: bytes | str | None, port: bytes | str | int | None, kind: int) -> list[Any]:
        await trio.lowlevel.checkpoint()
        name = host.decode() if isinstance(host, bytes) else host
        addresses = self._addresses(name)
        if not addresses:
            raise stdlib_socket.gaierror(stdlib_socket.EAI_NONAME, f"Name or service not known: {name}")
        return [(AddressFamily.AF_INET, SocketKind(kind), 6, "", (each, int(port or 0))) for each in addresses]

    def _addresses(self, name: str | None) -> list[str]:
        if name is None or name == "":
            return ["0.0.0.0"]
        if name == "localhost":
            return ["127.0.0.1"]
        own = current_host().host.name
        return [name] if self._network.host_at(name, own) is not None else self._network.addresses_of(name, own)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """Return the numeric address itself."""
        await trio.lowlevel.checkpoint()
        return str(sockaddr[0]), str(sockaddr[1])
