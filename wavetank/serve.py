"""`wavetank serve`: the chat platform for real, on real services."""

import os
from urllib.parse import urlsplit

import click
import structlog
import trio

from models.config import PlatformConfig
from models.defects import DEFECTS
from models.platform import serve as serve_platform
from models.secret import DEMO_SECRET
from simulator.errors import InputError
from wavetank.arguments import defect_option

__all__ = ["serve"]

EPILOG = """
\b
Examples:
  wavetank serve --redis redis://127.0.0.1:6379 --clickhouse http://127.0.0.1:8123 --port 8000
  WAVETANK_SECRET=... wavetank serve ...      sign tokens with a secret of your own

The platform logs JSON lines to standard output and runs until interrupted.
"""


@click.command(epilog=EPILOG)
@click.option("--redis", "redis_url", required=True, metavar="URL", help="redis://HOST:PORT")
@click.option("--clickhouse", "clickhouse_url", required=True, metavar="URL", help="http://HOST:PORT")
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Where users connect; 0 means any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@defect_option
def serve(redis_url: str, clickhouse_url: str, port: int, host: str, defects: tuple[str, ...]) -> int:
    """Run the chat platform: gateway, agent and analytics in one process."""
    known = [each.name for each in DEFECTS]
    for name in defects:
        if name not in known:
            raise InputError(f"no defect named {name!r}. Known: {', '.join(known)}.")
    redis_host, redis_port = _host_and_port(redis_url, "redis", 6379)
    _host_and_port(clickhouse_url, "http", 8123)
    config = PlatformConfig(
        redis_host=redis_host,
        redis_port=redis_port,
        clickhouse_url=clickhouse_url,
        listen_host=host,
        listen_port=port,
        secret=os.environ.get("WAVETANK_SECRET", DEMO_SECRET),
        defects=frozenset(defects),
    )
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(),
    )
    trio.run(_serve, config)
    return 0


async def _serve(config: PlatformConfig) -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(lambda task_status: serve_platform(config, task_status=task_status))
        structlog.get_logger().info("listening", host=config.listen_host, port=port)


def _host_and_port(url: str, scheme: str, default_port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or default_port
    except ValueError as error:
        raise InputError(f"{url!r} is not a URL: {error}. Example: {scheme}://127.0.0.1:{default_port}") from error
    if parts.scheme != scheme or not parts.hostname:
        raise InputError(f"{url!r} is not a {scheme} URL. Example: {scheme}://127.0.0.1:{default_port}")
    return parts.hostname, port
