"""TLS towards a deployment: client code speaks plainly, the wire does not, and a server must prove who it is."""

import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from simulator.errors import InputError
from simulator.host import Host
from simulator.live.names import LiveNames, on_host
from simulator.live.process import free_port
from simulator.live.target import TLS, HostTarget, Target
from simulator.live.tls import greet

PATIENCE_S = 10.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certificates(authority: trustme.CA, directory: Path) -> Path:
    path = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


async def nowhere() -> None:
    pass


def with_gateway(authority: trustme.CA, tls: TLS, test: Callable[[int], Awaitable[None]]) -> None:
    """Run a server that sends back in capitals what it is told in TLS, and a test that reaches it as "gateway"."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("chat.example").configure_cert(server)

    async def answer(stream: "trio.SSLStream[trio.SocketStream]") -> None:
        try:
            async for chunk in stream:
                await stream.send_all(chunk.upper())
            await stream.aclose()
        except trio.BrokenResourceError:
            pass

    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                serve = partial(trio.serve_ssl_over_tcp, answer, 0, server, host="127.0.0.1", https_compatible=True)
                (listener,) = await nursery.start(serve)
                port = listener.transport_listener.socket.getsockname()[1]
                target = Target({"gateway": HostTarget(f"localhost:{port}", tls=tls)})
                hosts = [Host("gateway", nowhere, open_to_users=True)]
                trio.socket.set_custom_hostname_resolver(LiveNames(target, hosts, ["user:alice"], nursery))
                on_host("user:alice")
                await test(free_port())
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_gateway_behind_tls_is_reached_as_if_it_were_not(authority: trustme.CA, tmp_path: Path) -> None:
    """wss is ws for who replays; what flows is more than a segment, and ends in order on both sides."""

    async def test(port: int) -> None:
        said = b"a" * 300_000
        async with await trio.open_tcp_stream("gateway", port) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, said)
            heard = b""
            while len(heard) < len(said):
                heard += await stream.receive_some()
            assert heard == said.upper()

    with_gateway(authority, TLS(certificates(authority, tmp_path), "chat.example"), test)


@pytest.mark.parametrize("name", ["other.example", ""])
def test_a_server_that_is_another_one_is_met_as_a_reset(authority: trustme.CA, tmp_path: Path, name: str) -> None:
    """Without a name, that of the address counts; here it is localhost, for which there is no certificate."""

    async def test(port: int) -> None:
        async with await trio.open_tcp_stream("gateway", port) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()

    with_gateway(authority, TLS(certificates(authority, tmp_path), name), test)


def test_a_server_signed_by_nobody_known_is_met_as_a_reset(authority: trustme.CA) -> None:
    """There is no way to switch the check off."""

    async def test(port: int) -> None:
        async with await trio.open_tcp_stream("gateway", port) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()

    with_gateway(authority, TLS(None, "chat.example"), test)


def test_a_file_of_certificates_that_is_none_is_named(tmp_path: Path) -> None:
    """Before anything is connected to."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(InputError, match=r"certificates cannot be read: .* ca=.*ca\.pem"):
        greet(None, "chat.example", TLS(tmp_path / "ca.pem"))  # type: ignore[arg-type]
