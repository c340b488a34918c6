"""One HTTP request to ClickHouse and its answer, without I/O: routes, parameters, statuses."""

from urllib.parse import parse_qsl, urlsplit

import attrs

from simulator.errors import UnsupportedError
from simulator.services.clickhouse.engine import Engine, check_database
from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.gathering import Gathering, Insertion
from simulator.services.clickhouse.parser import parse
from simulator.services.clickhouse.release import Release
from simulator.services.clickhouse.settings import DEFAULTS, read_settings
from simulator.services.http import Request

__all__ = [
    "PLAIN",
    "Answer",
    "answer",
    "answer_of_error",
    "answer_without_query",
    "read_parameters",
    "statement_text",
]

SHOWN_CHARACTERS = 120
PLAIN = "text/plain; charset=UTF-8"
HEADERS_REFUSED = ("authorization", "x-clickhouse-user", "x-clickhouse-key", "content-encoding", "expect")
PARAMETERS_WITH_ONE_VALUE = {"user": "default", "password": ""}
PARAMETERS_READ = ("query", "database", *PARAMETERS_WITH_ONE_VALUE)


@attrs.frozen
class Answer:
    """What is sent, `after_s` seconds from now. With `closes` the connection ends after it.

    `awaits` is an insert that must be flushed first; if it fails, its error is the answer instead.
    """

    status: int
    body: str
    content_type: str = PLAIN
    headers: tuple[tuple[str, str], ...] = ()
    closes: bool = False
    after_s: float = 0.0
    awaits: Insertion | None = None


def answer(request: Request, engine: Engine, gathering: Gathering | None = None) -> Answer:
    """Execute a request on the engine; every error becomes the answer that says so."""
    try:
        return _answer(request, engine, gathering)
    except ClickHouseError as error:
        return answer_of_error(error, engine.release)
    except UnsupportedError as error:
        return Answer(501, f"{error}\n")


def answer_of_error(error: ClickHouseError, release: Release) -> Answer:
    """Return the answer of a server that failed."""
    return Answer(error.status(release), error.body(release), headers=error.headers(release))


def answer_without_query(request: Request) -> Answer | None:
    """Return the answer to a request that no statement is read from. Raises for one that none may be read from."""
    if request.target[:1] != "/" or request.target[:2] == "//" or not request.target.isascii():
        refuse(f"the target {request.target}")
    path = urlsplit(request.target).path
    is_probe = request.method == "HEAD" and request.target in ("/", "/ping")
    if request.method not in ("GET", "POST") and not is_probe:
        refuse(f"the method {request.method}")
    if request.method != "POST" and (path == "/ping" or request.target == "/"):
        return Answer(200, "Ok.\n", "text/html; charset=UTF-8")
    if path != "/":
        # The real text goes on with advice on the command line client.
        return Answer(404, f"There is no handle {request.target}\n", closes=True)
    for name in HEADERS_REFUSED:
        if name in request.headers:
            refuse(f"the header {name}")
    if request.method == "POST" and not {"content-length", "transfer-encoding"} & request.headers.keys():
        raise ClickHouseError(381, "There is neither Transfer-Encoding header nor Content-Length header")
    return None


def statement_text(query: str, body: bytes) -> str:
    """Join the parameter and the body, as the server does, so that a statement may go on from one to the other."""
    try:
        data = body.decode()
    except UnicodeError:
        refuse("text that is not UTF-8")
    return f"{query}\n{data}" if query else data


def _answer(request: Request, engine: Engine, gathering: Gathering | None) -> Answer:
    without_query = answer_without_query(request)
    if without_query is not None:
        return without_query
    parameters = read_parameters(urlsplit(request.target).query)
    chosen = {name: value for name, value in parameters.items() if name not in PARAMETERS_READ}
    settings = read_settings(chosen, engine.release) if chosen else DEFAULTS
    check_database(parameters.get("database", "") or "default")
    text = statement_text(parameters.get("query", ""), request.body)
    read_only = request.method != "POST"
    try:
        result = engine.execute(parse(text), text, read_only=read_only, settings=settings, gathering=gathering)
    except UnsupportedError as error:
        raise UnsupportedError(f"{error}, in the statement {' '.join(text.split())[:SHOWN_CHARACTERS]!r}") from None
    return Answer(200, result.body, result.content_type, after_s=result.after_s, awaits=result.awaits)


def read_parameters(query: str) -> dict[str, str]:
    """Return the parameters of a URL, with no other user than the default one."""
    parameters: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        refuse("a parameter that is not UTF-8")
    for name, value in pairs:
        if name in parameters:
            refuse(f"the parameter {name} given twice")
        if PARAMETERS_WITH_ONE_VALUE.get(name, value) != value:
            refuse(f"the parameter or setting {name}={value}")
        parameters[name] = value
    return parameters
