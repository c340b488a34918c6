"""`wavetank proxy`: proxies that faults are done at, ordered by the HTTP API of Toxiproxy."""

import signal

import click
import trio

from simulator.errors import InputError
from simulator.live.proxy import Proxy
from simulator.live.target import split_address
from simulator.live.toxiproxy_api import ToxiproxyAPI
from wavetank.ungrouped import run_ungrouped

__all__ = ["proxy"]

API_PORT = 8474

EPILOG = """
\b
An agent that is to reach Redis through it is told that Redis is at 127.0.0.1:7001:
  wavetank proxy agents_redis=127.0.0.1:7001=127.0.0.1:6379
\b
and target.toml says which link that is:
  [[means]]
  by = "toxiproxy"
  url = "http://127.0.0.1:8474"
  links = { "agents->redis" = "agents_redis" }

\b
Examples:
  wavetank proxy                              none yet: clients of Toxiproxy make them
  wavetank proxy --port 0 web=127.0.0.1:0=127.0.0.1:80

It answers as Toxiproxy 2 does and runs until it is interrupted.
"""


@click.command(epilog=EPILOG)
@click.argument("links", nargs=-1, metavar="[NAME=LISTEN=UPSTREAM]...")
@click.option("--port", type=click.IntRange(0, 65535), default=API_PORT, show_default=True, help="Of the API; 0: any.")
def proxy(links: tuple[str, ...], port: int) -> int:
    """Run TCP proxies on this machine's loopback, and Toxiproxy's API to strike them with."""
    proxies: dict[str, Proxy] = {}
    for link in links:
        name, made = _proxy_of(link)
        if name in proxies:
            raise InputError(f"two proxies are named {name!r}. Rename one.")
        proxies[name] = made
    run_ungrouped(_serve, proxies, port)
    return 0


def _proxy_of(link: str) -> tuple[str, Proxy]:
    """Return a proxy by its description. Raises InputError."""
    parts = link.split("=")
    if len(parts) != 3 or not all(parts):
        raise InputError(f"{link!r} is no proxy. Write NAME=LISTEN=UPSTREAM: redis=127.0.0.1:7001=127.0.0.1:6379")
    name, (host, port), upstream = parts[0], split_address(parts[1], any_port=True), split_address(parts[2])
    return name, Proxy(upstream, host=host, port=port)


async def _serve(proxies: dict[str, Proxy], port: int) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            for name, each in proxies.items():
                await nursery.start(each.run)
                click.echo(f"{name}: {each.host}:{each.port} -> {each.upstream[0]}:{each.upstream[1]}")
            api = ToxiproxyAPI(proxies, port=port)
            await nursery.start(api.run)
            click.echo(f"Toxiproxy's API listens at http://{api.host}:{api.port}")
            await anext(signals)
            nursery.cancel_scope.cancel()
