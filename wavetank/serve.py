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
from simulator.errors import EnvironmentFailedError, InputError
from wavetank.arguments import defect_option
from wavetank.ungrouped import leaves, ungrouped

__all__ = ["serve"]

SECRET_LENGTH_MIN = 16

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
        secret=_secret(),
        defects=frozenset(defects),
    )
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(),
    )
    with ungrouped():
        trio.run(_serve, config)
    return 0


async def _serve(config: PlatformConfig) -> None:
    async with trio.open_nursery() as nursery:
        try:
            port = await nursery.start(lambda task_status: serve_platform(config, task_status=task_status))
        except* OSError as errors:
            raise EnvironmentFailedError(
                f"cannot listen on {config.listen_host}:{config.listen_port}: {next(leaves(errors))}. "
                "End what listens there, or choose another --host or --port."
            ) from errors
        structlog.get_logger().info("listening", host=config.listen_host, port=port)


def _secret() -> str:
    secret = os.environ.get("WAVETANK_SECRET", DEMO_SECRET)
    if len(secret) < SECRET_LENGTH_MIN:
        raise InputError(
            f"WAVETANK_SECRET has {len(secret)} characters and needs {SECRET_LENGTH_MIN}. Choose a longer one."
        )
    return secret


def _host_and_port(url: str, scheme: str, default_port: int) -> tuple[str, int]:
    example = f"Example: {scheme}://127.0.0.1:{default_port}"
    try:
        parts = urlsplit(url)
        port = default_port if parts.port is None else parts.port
    except ValueError as error:
        raise InputError(f"{url!r} is not a URL: {error}. {example}") from error
    if parts.scheme != scheme or not parts.hostname or not port:
        raise InputError(f"{url!r} is no {scheme} URL. {example}")
    if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise InputError(f"{url!r} says more than a host and a port, and nothing else is supported. {example}")
    return parts.hostname, port
