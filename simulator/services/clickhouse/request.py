"""One HTTP request to ClickHouse and its answer, without I/O: routes, parameters, statuses."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

import attrs

from simulator.errors import UnsupportedError
from simulator.services.clickhouse.engine import Engine, check_database
from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.parser import parse

__all__ = ["Answer", "Request", "answer"]

SHOWN_CHARACTERS = 120
PLAIN = "text/plain; charset=UTF-8"
HEADERS_REFUSED = ("authorization", "x-clickhouse-user", "x-clickhouse-key", "content-encoding", "expect")
PARAMETERS_WITH_ONE_VALUE = {"user": "default", "password": ""}


@attrs.frozen
class Request:
    """What was received. `headers` have lower-case names. A `body` may be cut short by the end of the connection."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class Answer:
    """What is sent. With `closes` the connection ends after it."""

    status: int
    body: str
    content_type: str = PLAIN
    closes: bool = False


def answer(request: Request, engine: Engine) -> Answer:
    """Execute a request on the engine; every error becomes the answer that says so."""
    try:
        return _answer(request, engine)
    except ClickHouseError as error:
        return Answer(error.status, error.body)
    except UnsupportedError as error:
        return Answer(501, f"{error}\n")


def _answer(request: Request, engine: Engine) -> Answer:
    if request.method not in ("GET", "POST"):
        refuse(f"the method {request.method}")
    url = urlsplit(request.target)
    if request.method != "POST" and (url.path == "/ping" or request.target == "/"):
        return Answer(200, "Ok.\n", "text/html; charset=UTF-8")
    if url.path != "/":
        # The real text goes on with advice on the command line client.
        return Answer(404, f"There is no handle {request.target}\n", closes=True)
    for name in HEADERS_REFUSED:
        if name in request.headers:
            refuse(f"the header {name}")
    if request.method == "POST" and not {"content-length", "transfer-encoding"} & request.headers.keys():
        raise ClickHouseError(381, "There is neither Transfer-Encoding header nor Content-Length header")
    parameters = _parameters(url.query)
    check_database(parameters.get("database", "") or "default")
    text = _text(parameters.get("query", ""), request.body)
    try:
        result = engine.execute(parse(text), text, read_only=request.method != "POST")
    except UnsupportedError as error:
        raise UnsupportedError(f"{error}, in the statement {' '.join(text.split())[:SHOWN_CHARACTERS]!r}") from None
    return Answer(200, result.body, result.content_type)


def _parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        if name in parameters:
            refuse(f"the parameter {name} given twice")
        if PARAMETERS_WITH_ONE_VALUE.get(name, value if name in ("query", "database") else None) != value:
            refuse(f"the parameter or setting {name}={value}")
        parameters[name] = value
    return parameters


def _text(query: str, body: bytes) -> str:
    """Join the parameter and the body, as the server does, so that a statement may go on from one to the other."""
    try:
        query.encode()
        data = body.decode()
    except UnicodeError:
        refuse("text that is not UTF-8")
    return f"{query}\n{data}" if query else data
