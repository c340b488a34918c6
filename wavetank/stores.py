"""What a staging does to its real stores beside running them: empties them, and lets PostgreSQL refuse the platform."""

import http.client
import socket
from collections.abc import Callable

import trio

from models.database import DatabaseError, DatabaseUnavailableError, Script, Statement
from models.wire import WireDatabase
from simulator.errors import EnvironmentFailedError

__all__ = ["PLATFORM_ROLE", "empty_clickhouse", "empty_postgres", "empty_redis", "refuse_platform"]

STORE_ANSWERS_WITHIN_S = 5.0
PLATFORM_ROLE = "platform"
"""Whom PostgreSQL takes the platform for: not for its superuser, who is never refused."""

SCHEMA = ("DROP SCHEMA public CASCADE", f"CREATE SCHEMA public AUTHORIZATION {PLATFORM_ROLE}")
REFUSED, ADMITTED = 0, -1


async def empty_redis(port: int) -> None:
    """Delete every key. Raises EnvironmentFailedError, as all of these do, when that cannot be done."""
    await trio.to_thread.run_sync(_flush, port)


def _flush(port: int) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=STORE_ANSWERS_WITHIN_S) as redis:
            redis.sendall(b"*1\r\n$8\r\nFLUSHALL\r\n")
            answer = redis.recv(64)
    except OSError as error:
        raise EnvironmentFailedError(f"redis did not delete its keys: {error!r}") from error
    if answer != b"+OK\r\n":
        raise EnvironmentFailedError(f"redis did not delete its keys: answer={answer!r}")


async def empty_postgres(port: int) -> None:
    """Drop every table; those who locked one, and are gone, are waited for. The platform's role is made if need be."""
    roles = f"SELECT count(*) FROM pg_roles WHERE rolname = '{PLATFORM_ROLE}'"

    def script() -> Script[None]:
        ((known,),) = yield Statement(roles)
        for sql in SCHEMA if known else (f"CREATE ROLE {PLATFORM_ROLE} LOGIN", *SCHEMA):
            yield Statement(sql)

    await _transact(port, script, STORE_ANSWERS_WITHIN_S)


async def refuse_platform(port: int, *, on: bool, within_s: float) -> None:
    """Let PostgreSQL refuse new connections of the platform's with 53300, too many connections, or admit them again."""

    def script() -> Script[None]:
        yield Statement(f"ALTER ROLE {PLATFORM_ROLE} CONNECTION LIMIT {REFUSED if on else ADMITTED}")

    await _transact(port, script, within_s)


async def _transact(port: int, script: Callable[[], Script[None]], within_s: float) -> None:
    async with WireDatabase.opened(host="127.0.0.1", port=port, timeout_s=within_s) as database:
        try:
            await database.transact(script)
        except (DatabaseError, DatabaseUnavailableError) as error:
            raise EnvironmentFailedError(f"postgres did not do what the staging asked: {error}") from error


async def empty_clickhouse(port: int) -> None:
    """Drop every table."""
    await trio.to_thread.run_sync(_drop_tables, port)


def _drop_tables(port: int) -> None:
    for table in _ask_clickhouse(port, "SHOW TABLES").split():
        _ask_clickhouse(port, f"DROP TABLE {table}")


def _ask_clickhouse(port: int, statement: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STORE_ANSWERS_WITHIN_S)
    try:
        connection.request("POST", "/", statement)
        response = connection.getresponse()
        answer = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise EnvironmentFailedError(f"clickhouse did not answer {statement!r}: {error!r}") from error
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise EnvironmentFailedError(f"clickhouse refused {statement!r}: {answer.strip()}")
    return answer
