"""Reserved words as labels, messages that are malformed, settings in every unit; and what is refused beside."""

import struct
from collections.abc import Sequence

from tests.conformance.postgresql_client import bind, close, describe, execute, message, parse, query, sync
from tests.conformance.postgresql_conversation import SMALL, case, raw

__all__ = ["ODD", "ODD_REFUSALS"]

LONG = "x" * 2601


def bound(
    formats: Sequence[int] = (), values: Sequence[bytes] = (), results: Sequence[int] = (), rest: bytes = b""
) -> bytes:
    """Bind with any format codes, and with bytes behind them."""
    body = b"\0\0" + struct.pack(f"!H{len(formats)}H", len(formats), *formats) + struct.pack("!H", len(values))
    body += b"".join(struct.pack("!i", len(value)) + value for value in values)
    return message(b"B", body + struct.pack(f"!H{len(results)}H", len(results), *results) + rest)


BY_NUMBER = parse("SELECT k, n FROM t WHERE n = $1")

ODD = (
    case(
        "any word is a label after AS or a dot",
        SMALL,
        "a SELECT n AS user, k AS order FROM t",
        "a SELECT max(n) AS end FROM t",
        "a INSERT INTO t VALUES ('q') RETURNING k AS select",
        'a CREATE TABLE o ("user" text, "order" integer)',
        "a INSERT INTO o VALUES ('x', 1)",
        "a SELECT o.user, o.order AS from FROM o WHERE o.order = 1",
        "a SELECT o.select FROM o",
        "a SELECT t.name FROM t",
    ),
    case(
        "messages with bytes behind their fields",
        SMALL,
        raw("a", message(b"Q", b"SELECT 1\0SELECT 2\0")),
        raw("a", message(b"Q", b"SELECT 1")),
        raw("a", message(b"P", b"\0SELECT 1\0\0\0z"), sync()),
        raw("a", BY_NUMBER, bound((0,), (b"1",), (), b"zz"), execute(), sync()),
        raw("a", message(b"D", b"S\0z"), sync()),
        raw("a", parse("SELECT 1"), bind(), message(b"E", b"\0\0\0\0\0z"), sync()),
        raw("a", message(b"C", b"S\0z"), sync()),
        raw("a", message(b"H", b"z"), sync()),
        raw("a", message(b"S", b"z")),
        "a BEGIN",
        raw("a", message(b"S", b"z")),
        "a ROLLBACK",
    ),
    case(
        "codes that are none",
        SMALL,
        raw("a", BY_NUMBER, bound((2,), (b"1",)), execute(), sync()),
        raw("a", BY_NUMBER, bound((0,), (b"1",), (0, 0, 0)), execute(), sync()),
        raw("a", BY_NUMBER, bound((0, 0), (b"1",)), execute(), sync()),
        raw("a", BY_NUMBER, bound((0, 0), ()), execute(), sync()),
        raw("a", BY_NUMBER, bound((0,), (b"1",), (0, 0)), execute(), sync()),
        raw("a", parse("DELETE FROM t"), bound((), (), (0, 0, 0)), execute(), sync()),
        raw("a", message(b"D", b"X\0"), sync()),
        raw("a", message(b"C", b"X\0"), sync()),
    ),
    case(
        "nothing bound in a failed block",
        raw("a", parse("", name="s"), sync()),
        "a BEGIN",
        "a FOO",
        raw("a", bind(name="s"), sync()),
        raw("a", parse(""), bind(), execute(), sync()),
        raw("a", close("s"), sync()),
        raw("a", parse("COMMIT"), bind(), describe(), execute(), sync()),
    ),
    case(
        "durations",
        *(
            f"a SET statement_timeout = {value}; SHOW statement_timeout"
            for value in ("'1h'", "'1d'", "3600000", "90000", "'2min'", "'+5'", "' 5 s '", "0", "-1", "'x'", "'25d'")
        ),
        "a SET deadlock_timeout = 0",
        "a SET deadlock_timeout = 1",
        "a SHOW deadlock_timeout",
        raw("a", query("SET idle_in_transaction_session_timeout = '12h'")),
        "a SHOW idle_in_transaction_session_timeout",
    ),
    case(
        "settings that change nothing are shown as they were written",
        "a SET TimeZone = 'Etc/UTC'",
        "a SHOW TimeZone",
        "a SET extra_float_digits = 3",
        "a SHOW extra_float_digits",
        "a SET client_encoding = 'utf-8'",
        "a SHOW client_encoding",
        "a SET DateStyle = 'ISO,MDY'",
        "a SHOW DateStyle",
        "a SET default_transaction_isolation = 'READ COMMITTED'",
        "a SHOW default_transaction_isolation",
        f"a SET application_name = '{'y' * 63}'",
        "a SHOW application_name",
    ),
    case("limits of another type", SMALL, "a SELECT k FROM t LIMIT true", "a SELECT k FROM t LIMIT 'x'"),
)

ODD_REFUSALS = (
    "SELECT k FROM t WHERE n!=-1",
    "SELECT tablename FROM pg_tables",
    "DROP TABLE IF EXISTS pg_class",
    "CREATE TABLE pg_x (k text)",
    "SELECT k FROM t_pkey",
    "DROP TABLE IF EXISTS t_pkey",
    "CREATE TABLE t_pkey (k text)",
    "CREATE TABLE x_pkey (k text); CREATE TABLE x (k text PRIMARY KEY)",
    "SELECT t FROM t",
    "SELECT k FROM t WHERE t IS NOT NULL",
    "SELECT k FROM t ORDER BY t",
    "UPDATE t SET n = 2 WHERE k = 'none' RETURNING t",
    "INSERT INTO t VALUES ('x') ON CONFLICT (k) DO UPDATE SET k = excluded",
    "INSERT INTO t VALUES ('x') ON CONFLICT (k) DO UPDATE SET n = 2 RETURNING excluded.n",
    "INSERT INTO t VALUES ('y', t.n)",
    "SELECT k FROM t LIMIT n",
    "CREATE TABLE x (n integer DEFAULT 1 DEFAULT 2)",
    "CREATE TABLE x (n bigint GENERATED ALWAYS AS IDENTITY GENERATED ALWAYS AS IDENTITY)",
    f"INSERT INTO t VALUES ('{LONG}')",
    f"UPDATE t SET k = '{LONG}'",
    f"CREATE TABLE x (a text, b text, UNIQUE (a, b)); INSERT INTO x VALUES ('{LONG[:1400]}', '{LONG[:1300]}')",
    "SET statement_timeout = '1.5s'",
    "SET statement_timeout = '100us'",
    "SET application_name = '\u00e9'",
    f"SET application_name = '{'y' * 64}'",
    "SET TimeZone = 'utc'",
    "SET client_encoding = 'UNICODE'",
    "SET default_transaction_isolation = 'readcommitted'",
)
