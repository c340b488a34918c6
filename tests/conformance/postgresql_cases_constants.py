"""What PostgreSQL makes of constants, which it evaluates as it plans, before it looks at a row."""

from tests.conformance.postgresql_client import BOOL, INT4, INT8, TEXT, describe, parse, sync
from tests.conformance.postgresql_conversation import SMALL, TYPES, Step, call, case, raw

__all__ = ["CONSTANTS", "CONSTANTS_REFUSED"]

TOO_LARGE = "2147483648"
OVERFLOW = "2147483647 + 1"
IDENTITY = "a CREATE TABLE i (n bigint GENERATED ALWAYS AS IDENTITY, k text PRIMARY KEY, v integer NOT NULL)"


def typed(text: str) -> Step:
    """Return the step that asks for the types of a statement's parameters and results."""
    return raw("a", parse(text), describe("", b"S"), sync())


CONSTANTS = (
    case(
        "a value out of range is found where no row is",
        SMALL,
        f"a INSERT INTO t VALUES ('new') ON CONFLICT (k) DO UPDATE SET n = {TOO_LARGE}",
        f"a UPDATE t SET n = {TOO_LARGE} WHERE k = 'none'",
        f"a UPDATE t SET n = {OVERFLOW} WHERE k = 'none'",
        f"a SELECT {OVERFLOW} FROM t WHERE k = 'none'",
        f"a SELECT k FROM t WHERE k = 'none' AND n + 1 = {OVERFLOW}",
        f"a SELECT k FROM t WHERE k = 'none' AND n IN ({OVERFLOW}, 1)",
        "a SELECT k FROM t LIMIT 9223372036854775807 + 1",
        f"a DELETE FROM t WHERE n = 1 AND n = {OVERFLOW}",
        f"a INSERT INTO t VALUES ('new') RETURNING {OVERFLOW}",
        "a SELECT count(*) FROM t",
        last=[("3",)],
    ),
    case(
        "a parameter out of range is found where no row is",
        SMALL,
        call(
            "a", "INSERT INTO t VALUES ($1) ON CONFLICT (k) DO UPDATE SET n = $2", "new", TOO_LARGE, oids=(TEXT, INT8)
        ),
        call("a", "UPDATE t SET n = $1 WHERE k = 'none'", TOO_LARGE, oids=(INT8,)),
        call("a", "UPDATE t SET n = $1 WHERE k = 'none'", "7", oids=(INT8,)),
        call("a", "SELECT k FROM t WHERE k = 'none' AND n = $1 + 1", "2147483647", oids=(INT4,)),
        call("a", "UPDATE t SET n = n + $1 WHERE k = 'none'", "2147483647", oids=(INT4,)),
        call("a", "UPDATE t SET n = n + $1 WHERE k = 'y'", "2147483647", oids=(INT4,)),
        "a SELECT k, n FROM t",
    ),
    case(
        "an insert that fails by a constant takes no number",
        IDENTITY,
        f"a INSERT INTO i (k, v) VALUES ('a', {TOO_LARGE})",
        "a INSERT INTO i (k, v) VALUES ('a', 1) RETURNING n",
        f"a INSERT INTO i (k, v) VALUES ('b', 1), ('c', {OVERFLOW})",
        f"a INSERT INTO i (k, v) VALUES ('b', 1), ('c', {TOO_LARGE})",
        call("a", "INSERT INTO i (k, v) VALUES ($1, $2)", "b", TOO_LARGE, oids=(TEXT, INT8)),
        "a INSERT INTO i (k, v) VALUES ('b', 1), ('c', NULL)",
        "a INSERT INTO i (k, v) VALUES ('b', 1) RETURNING n",
        last=[("4",)],
    ),
    case(
        "coalesce ends with the first constant that is not NULL",
        SMALL,
        f"a SELECT coalesce(1, {OVERFLOW})",
        f"a SELECT coalesce(NULL, {OVERFLOW})",
        f"a SELECT coalesce(n, {OVERFLOW}) FROM t",
        f"a SELECT coalesce(n, 5, {OVERFLOW}) FROM t",
        f"a SELECT coalesce(n, 5 + coalesce(1, {OVERFLOW})) FROM t",
        f"a UPDATE t SET n = coalesce(1, {OVERFLOW}) + 1 WHERE k = 'none'",
        call("a", f"SELECT coalesce($1, {OVERFLOW})", "1", oids=(INT4,)),
        call("a", f"SELECT coalesce($1, {OVERFLOW})", None, oids=(INT4,)),
    ),
    case(
        "the constants of a list come in one type",
        TYPES,
        typed("SELECT t FROM v WHERE i IN ($1, 5000000000)"),
        typed("SELECT t FROM v WHERE i IN ($1, b)"),
        typed("SELECT t FROM v WHERE b IN ($1, 1)"),
        typed("SELECT t FROM v WHERE $1 IN (1, 5000000000)"),
        typed("SELECT t FROM v WHERE $1 IN (1, 2, b)"),
        typed("SELECT t FROM v WHERE $1 IN (i, b)"),
        typed("SELECT t FROM v WHERE $1 IN ($2, b)"),
        typed("SELECT t FROM v WHERE $1 IN ($2, 'x')"),
        typed("SELECT t FROM v WHERE d IN ($1, 1)"),
        "a SELECT t FROM v WHERE i IN ('5000000000', 5000000000)",
        "a SELECT t FROM v WHERE i IN ('5000000000', 1)",
        "a SELECT t FROM v WHERE i IN (NULL, '1', 5000000000)",
        "a SELECT t FROM v WHERE t IN ('x', 1)",
        "a SELECT t FROM v WHERE i IN (1, true)",
        call("a", "SELECT t FROM v WHERE o IN ($1, NULL)", "t", oids=(BOOL,)),
        "a SELECT t FROM v WHERE i IN ('1', b)",
    ),
    case(
        "endless digits as text",
        SMALL,
        f"a INSERT INTO t (k, n) VALUES ('p', '{'1' * 5000}')",
        f"a INSERT INTO t (k, n) VALUES ('p', '{'0' * 5000}7')",
        call("a", "INSERT INTO t (k, n) VALUES ('q', $1) RETURNING n", "1" * 5000),
        call("a", "INSERT INTO t (k, n) VALUES ('q', $1) RETURNING n", f"-{'0' * 5000}2147483648"),
    ),
    case("expressions of many parts", f"a SELECT {'1+' * 99}1", f"a SELECT {'(' * 90}1{')' * 90}"),
)

CONSTANTS_REFUSED = (
    "SELECT k FROM t WHERE 1 = 2 AND n = 2147483647 + 1",
    "SELECT k FROM t WHERE n IN (1, 2.5)",
    f"SELECT {'1' * 5000}",
    f"SELECT k FROM t WHERE n = ${'1' * 5000}",
    f"SELECT {'(' * 2000}1{')' * 2000}",
    f"SELECT {'1+' * 1500}1",
    f"SELECT {'coalesce(' * 200}1{')' * 200}",
    "CREATE TABLE x (d double precision DEFAULT 1e400)",
    "SELECT k FROM t WHERE n < 1e-400",
    f"SET statement_timeout = {'1' * 5000}",
)
