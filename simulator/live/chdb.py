"""The current ClickHouse engine as a server: chdb in a process of its own, behind ClickHouse's HTTP interface.

`python -m simulator.live.chdb --port N --path DIR` runs it in the foreground. Each request has a session of its own,
as a server gives it. What the engine does not do here, being embedded: it has no queue of asynchronous inserts (with
`async_insert=1` an insert is executed at once and acknowledged after it), no users, and an insert without any data
never reaches a table. Of the interface there are the query in parameter and body, settings as parameters, statuses,
error codes and Content-Type; there are no sessions, external tables, query parameters, compression, or other headers.
"""

import argparse
import http.client
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import trio

import simulator
from simulator.errors import EnvironmentFailedError, UnsupportedError
from simulator.live.process import ServerProcess
from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.http import serve_connection
from simulator.services.clickhouse.release import Release
from simulator.services.clickhouse.request import (
    PLAIN,
    Answer,
    answer_of_error,
    answer_without_query,
    read_parameters,
    statement_text,
)
from simulator.services.http import Request

__all__ = ["ChdbServer"]

PROBE_TIMEOUT_S = 2.0
KEEP_ALIVE_TIMEOUT_S = 60.0

NO_SETTINGS = ("query", "database", "user", "password", "query_id", "wait_end_of_query")
REFUSED = ("session_id", "default_format", "compress", "decompress")
SETTING = re.compile(r"[a-z0-9_]+")
NO_DATA_TO_INSERT = 108
"""What the engine, as a client of itself, says of an insert that a server takes for one of no rows."""

# An error of the engine, and one that it wrapped in itself again.
ERROR = re.compile(r"Code: (\d+)\. DB::Exception: (.*) \(([A-Z_0-9]+)\)\s*", re.DOTALL)
WRAPPED = re.compile(r"(?:Code: \d+\. DB::Exception: )+(.*?)(?:\.? \([A-Z_0-9]+\) \(version [^)]*\))+\.?", re.DOTALL)

OUTPUT_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
READS = re.compile(r"\s*\(?\s*(?:SELECT|WITH|SHOW|DESC|DESCRIBE|EXISTS|EXPLAIN)\b", re.IGNORECASE)
INSERT_FORMAT = re.compile(
    r"\s*INSERT\s+INTO\s+[^\s(]+\s*(?:\([^)]*\)\s*)?(?:SETTINGS\s[^{]*?\s)?FORMAT\s+(\w+)", re.IGNORECASE
)
EMPTY_LINE = re.compile(r"\n(?=\n)")
CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
}


class ChdbServer(ServerProcess):
    """The current ClickHouse engine, HTTP on 127.0.0.1, with its data in the server's directory.

    An acknowledged insert survives `kill`: its part is in the page cache before it is acknowledged.
    """

    name = "chdb"

    @property
    def url(self) -> str:
        """The base URL of the HTTP interface."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        """Return the command line. Raises EnvironmentFailedError when the extra is not installed."""
        if importlib.util.find_spec("chdb") is None:
            raise EnvironmentFailedError(
                "chdb could not be started: it is not installed. Install it: pip install wavetank[chdb]"
            )
        data = self.directory / "data"
        return [sys.executable, "-m", "simulator.live.chdb", f"--port={self.port}", f"--path={data}"]

    def environment(self) -> Mapping[str, str]:
        """Return our own environment, and where this package is: the server runs in its own directory."""
        paths = (str(Path(simulator.__file__).parent.parent), os.environ.get("PYTHONPATH", ""))
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def is_ready(self) -> bool:
        """Say whether GET /ping is answered with "Ok."."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().read() == b"Ok.\n"
        except http.client.HTTPException:
            return False
        finally:
            connection.close()


class Output(Protocol):
    """A result of the engine."""

    def bytes(self) -> bytes: ...


class Session(Protocol):
    """A session of the engine."""

    def query(self, text: str, output_format: str) -> Output: ...

    def classify_query(self, text: str) -> Mapping[str, object]: ...

    def close(self) -> None: ...


class ChdbEngine:
    """The engine of this process. It opens one directory, once."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        # Imported here only: the extra may be missing, and a process that has loaded the engine must not be forked.
        self._connect: Callable[[], Session] = partial(importlib.import_module("chdb._chdb").connect, str(path))
        # One session stays open, or else the engine would close with the last request's.
        self._kept = self._connect()

    async def respond(self, request: Request) -> Answer:
        """Execute a request, in a thread, and say how it went."""
        try:
            without_query = answer_without_query(request)
            if without_query is not None:
                return without_query
            return await trio.to_thread.run_sync(self._execute, request)
        except ClickHouseError as error:
            return answer_of_error(error, Release.CURRENT)
        except UnsupportedError as error:
            return Answer(501, f"{error}\n")

    def _execute(self, request: Request) -> Answer:
        parameters = read_parameters(urlsplit(request.target).query)
        text = _with_all_rows(statement_text(parameters.get("query", ""), request.body))
        session = self._connect()
        try:
            for statement in _preparation(parameters, read_only=request.method != "POST"):
                _query(session, statement)
            if not text.strip():
                raise ClickHouseError(62, "Empty query.")
            if session.classify_query(text)["statement_count"] != 1:
                raise ClickHouseError(62, "Syntax error (Multi-statements are not allowed).")
            return Answer(200, _query(session, text), _content_type(text))
        finally:
            session.close()


def _preparation(parameters: Mapping[str, str], *, read_only: bool) -> Sequence[str]:
    """Return the statements that make a session what the parameters of a request want."""
    statements = ["SET implicit_select = 0"]  # a convenience of the embedded engine
    for name, value in parameters.items():
        if name in REFUSED or name.startswith("param_"):
            refuse(f"the parameter {name}={value}")
        if name in NO_SETTINGS:
            continue
        if not SETTING.fullmatch(name):
            raise ClickHouseError(115, f"Unknown setting '{name}'.")
        statements.append(f"SET {name} = {_literal(value)}")
    if database := parameters.get("database"):
        statements.append(f"USE `{database.replace('`', '')}`")
    return [*statements, "SET readonly = 2"] if read_only else statements


def _with_all_rows(text: str) -> str:
    """Fill empty lines in the data of an insert.

    The embedded engine takes what follows one for the next statement, having inserted what comes before it.
    """
    match = INSERT_FORMAT.match(text)
    if match is None or not EMPTY_LINE.search(text):
        return text
    if match[1] != "JSONEachRow":
        refuse(f"an empty line in an insert of FORMAT {match[1]}")
    return EMPTY_LINE.sub("\n ", text)  # white space between rows; inside of strings JSON has no bare line feeds


def _literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _query(session: Session, text: str) -> str:
    try:
        return session.query(text, "TabSeparated").bytes().decode()
    except RuntimeError as error:
        match = ERROR.fullmatch(str(error))
        if match is None:
            raise
        code, words, name = int(match[1]), match[2], match[3]
        if code == NO_DATA_TO_INSERT:
            return ""
        inner = WRAPPED.fullmatch(words)
        raise ClickHouseError(code, f"{inner[1]}." if inner else words, name=name) from None


def _content_type(text: str) -> str:
    if not READS.match(text):
        return PLAIN
    named = OUTPUT_FORMAT.search(text)
    return CONTENT_TYPES.get(named[1] if named else "TabSeparated", PLAIN)


async def _serve(port: int, path: Path) -> None:
    engine = ChdbEngine(path)
    serve = partial(serve_connection, respond=engine.respond, keep_alive_timeout_s=KEEP_ALIVE_TIMEOUT_S)
    await trio.serve_tcp(serve, port, host="127.0.0.1")


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m simulator.live.chdb", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", type=Path, required=True, help="the directory of the data")
    arguments = parser.parse_args()
    trio.run(_serve, arguments.port, arguments.path)


if __name__ == "__main__":
    main()
