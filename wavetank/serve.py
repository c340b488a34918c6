"""`wavetank serve`: the chat platform for real, on real services, in one process or in several of one role each."""

import logging
import os
import signal
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from urllib.parse import SplitResult, urlsplit

import attrs
import click
import structlog
import trio

from models.config import PlatformConfig
from models.database import Database
from models.defects import DEFECTS
from models.llm import KEY
from models.platform import ROLES
from models.platform import serve as serve_platform
from models.secret import DEMO_SECRET
from models.wire import WireDatabase
from simulator.errors import EnvironmentFailedError, InputError, known_names
from wavetank.arguments import defect_option
from wavetank.listening import cannot_listen
from wavetank.ungrouped import run_ungrouped

__all__ = ["llm_key", "serve", "web_url"]

SECRET_LENGTH_MIN = 16
NEEDED = {"gateway": ("port",), "agents": ("clickhouse", "llm")}
"""What each role must be told, beside Redis and PostgreSQL; the other role has no use for it."""

EXAMPLES = {
    "redis": "redis://127.0.0.1:6379",
    "postgres": "postgresql://wavetank@127.0.0.1:5432/wavetank",
    "clickhouse": "http://127.0.0.1:8123",
    "llm": "http://127.0.0.1:8080/v1",
}

EPILOG = """
\b
Examples:
  wavetank serve --port 8000 --redis redis://127.0.0.1:6379 --clickhouse http://127.0.0.1:8123 \\
      --postgres postgresql://wavetank@127.0.0.1:5432/wavetank --llm http://127.0.0.1:8080/v1
  wavetank serve --role gateway --port 8000 --redis ... --postgres ...      one of several
  wavetank serve --role agents --redis ... --postgres ... --clickhouse ... --llm ...

\b
Environment:
  WAVETANK_SECRET   signs the users' tokens; without it a known one is used, for demonstrations
  OPENAI_API_KEY    the key that the language model asks for, if it does
  OPENAI_BASE_URL   where the language model is, unless --llm says so
  OPENAI_MODEL      which model is asked for, unless --model says so
  PGPASSWORD        the password for PostgreSQL, if it asks for one

It logs JSON lines to standard output and runs until SIGTERM, which lets it finish what it does, or Ctrl-C.
"""

Opened = AbstractAsyncContextManager[Database]

log = structlog.get_logger()


@click.command(epilog=EPILOG)
@click.option(
    "--role", type=click.Choice([*ROLES, "all"]), default="all", show_default=True, help="What this process does."
)
@click.option("--redis", required=True, metavar="URL", help="redis://HOST:PORT")
@click.option("--postgres", required=True, metavar="URL", help="postgresql://USER@HOST:PORT/DATABASE")
@click.option("--clickhouse", metavar="URL", help="http://HOST:PORT; agents only.")
@click.option("--llm", metavar="URL", help="http://HOST:PORT/v1, OpenAI's API; agents only.  [env: OPENAI_BASE_URL]")
@click.option(
    "--model",
    envvar="OPENAI_MODEL",
    default="wavetank",
    show_default=True,
    show_envvar=True,
    help="The language model to ask for.",
)
@click.option(
    "--llm-timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    default=1.5,
    show_default=True,
    metavar="SECONDS",
    help="How long one answer of the language model may take. An agent has 6 s in all.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Where users connect; 0 means any. Gateways only.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--token-s",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long a user's token is valid, and a connection without a new one.",
)
@click.option(
    "--postgres-driver",
    "driver",
    type=click.Choice(["psycopg", "wire"]),
    default="psycopg",
    show_default=True,
    help="wire is the one of simulations, for a PostgreSQL that trusts us.",
)
@click.option("--verbose", is_flag=True, help="Also log what is exchanged with the language model, whole.")
@defect_option
def serve(
    role: str,
    redis: str,
    postgres: str,
    clickhouse: str | None,
    llm: str | None,
    model: str,
    llm_timeout_s: float,
    port: int | None,
    host: str,
    token_s: int,
    driver: str,
    verbose: bool,
    defects: tuple[str, ...],
) -> int:
    """Run the chat platform: a gateway, the agents, or both in one process."""
    roles = ROLES if role == "all" else (role,)
    if "agents" in roles:
        llm = llm or os.environ.get("OPENAI_BASE_URL")
    _check_told(roles, {"clickhouse": clickhouse, "llm": llm, "port": port})
    _check_defects(defects)
    at_redis = _address("redis", redis)
    config = PlatformConfig(
        redis_host=at_redis.host,
        redis_port=at_redis.port,
        clickhouse_url=web_url("clickhouse", clickhouse),
        llm_url=web_url("llm", llm),
        llm_key=llm_key(),
        llm_model=model,
        llm_timeout_s=llm_timeout_s,
        listen_host=host,
        listen_port=port or 0,
        secret=_secret(),
        token_s=token_s,
        defects=frozenset(defects),
    )
    database = _database(driver, _address("postgres", postgres))
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
    )
    run_ungrouped(_serve, config, database, roles)
    return 0


async def _serve(config: PlatformConfig, opened: Opened, roles: tuple[str, ...]) -> None:
    stopping = trio.Event()
    async with opened as database, trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[int | None]) -> None:
            await serve_platform(config, database=database, roles=roles, stopping=stopping, task_status=task_status)
            nursery.cancel_scope.cancel()

        await nursery.start(_stop_on_sigterm, stopping)
        try:
            port = await nursery.start(run)
        except* OSError as errors:
            raise cannot_listen(config.listen_host, config.listen_port, errors) from errors
        if "gateway" in roles:
            log.info("listening", host=config.listen_host, port=port)
        else:
            log.info("working")


async def _stop_on_sigterm(stopping: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            stopping.set()


# What the options say


@attrs.frozen
class _Address:
    host: str
    port: int
    user: str
    path: str


def _check_told(roles: tuple[str, ...], told: Mapping[str, object]) -> None:
    for role, names in NEEDED.items():
        for name in names:
            if role in roles and told[name] is None:
                example = f" Example: {EXAMPLES[name]}" if name in EXAMPLES else ""
                raise InputError(f"--{name} is missing, and --role {_word(roles)} needs it.{example}")
            if role not in roles and told[name] is not None:
                raise InputError(f"--role {_word(roles)} has no use for --{name}. Leave it out, or choose --role all.")


def _word(roles: tuple[str, ...]) -> str:
    return "all" if roles == ROLES else roles[0]


def _check_defects(defects: tuple[str, ...]) -> None:
    known = [each.name for each in DEFECTS]
    for name in defects:
        if name not in known:
            raise InputError(f"no defect named {name!r}. {known_names(known, 'wavetank defects', name)}")


def _secret() -> str:
    secret = os.environ.get("WAVETANK_SECRET", DEMO_SECRET)
    if len(secret) < SECRET_LENGTH_MIN:
        raise InputError(
            f"WAVETANK_SECRET has {len(secret)} characters and needs {SECRET_LENGTH_MIN}. Choose a longer one."
        )
    return secret


def llm_key() -> str | None:
    """Return the key of the language model that the environment holds, if it does. Raises InputError."""
    key = os.environ.get("OPENAI_API_KEY") or None
    if key is not None and not KEY.fullmatch(key):
        raise InputError(
            "OPENAI_API_KEY holds a space, a line end or a character that is not ASCII. Set it to the key alone."
        )
    return key


def _database(driver: str, at: _Address) -> Opened:
    name = at.path.strip("/")
    if not at.user or not name or "/" in name:
        raise InputError(f"--postgres must name a user and a database. Example: {EXAMPLES['postgres']}")
    if driver == "wire":
        return WireDatabase.opened(host=at.host, port=at.port, user=at.user, name=name)
    try:
        from models.psycopg_database import PsycopgDatabase  # not at the top: it loads libpq, which may be missing
    except ImportError as error:
        raise EnvironmentFailedError(
            f"psycopg cannot be loaded: {error}. Install psycopg[binary], or choose --postgres-driver wire."
        ) from error
    return PsycopgDatabase.opened(host=at.host, port=at.port, user=at.user, name=name)


def web_url(option: str, url: str | None) -> str:
    """Return the URL of a service over HTTP; nothing for one that is not needed."""
    if url is None:
        return ""
    parts = _parts(option, url, ("http", "https") if option == "llm" else ("http",))
    if parts.username is not None or (parts.path.strip("/") and option != "llm"):
        raise InputError(f"--{option} says more than a host and a port. Example: {EXAMPLES[option]}")
    return url


def _address(option: str, url: str) -> _Address:
    example = urlsplit(EXAMPLES[option])
    parts = _parts(option, url, (example.scheme,))
    if parts.password is not None and option == "postgres":
        raise InputError("--postgres holds a password, which every process here can read. Put it into PGPASSWORD.")
    if option == "redis" and (parts.username is not None or parts.path.strip("/")):
        raise InputError(f"--redis says more than a host and a port. Example: {EXAMPLES['redis']}")
    assert parts.hostname is not None
    return _Address(parts.hostname, parts.port or example.port or 0, parts.username or "", parts.path)


def _parts(option: str, url: str, schemes: tuple[str, ...]) -> SplitResult:
    """Take a URL apart. What it holds is never quoted, nor what Python says of it: there may be a password in it."""
    example = f"Example: {EXAMPLES[option]}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError(f"--{option} is not a URL, or its port is no number up to 65535. {example}") from None
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise InputError(f"--{option} is no {schemes[0]} URL. {example}")
    if parts.query or parts.fragment:
        raise InputError(f"--{option} says more than is supported: it has a query or a fragment. {example}")
    return parts
