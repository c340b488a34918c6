"""What an ill-behaved client may send to ClickHouse: odd bytes, odd targets, endless numbers, deep nesting."""

from tests.conformance.clickhouse_cases import SMALL, Ask, case, json

__all__ = ["ODD", "ODD_REFUSALS", "ODD_REFUSALS_OF_CURRENT", "TARGETS_REFUSED"]

DIGITS = "1" * 5000
INSERT = "INSERT INTO s FORMAT JSONEachRow "

ODD = (
    case(
        "a byte order mark before the rows",
        SMALL,
        json("s", '\ufeff{"k":"a"}'),
        Ask(INSERT + '\ufeff{"k":"b"}'),
        "SELECT k FROM s ORDER BY k",
        ends="a\nb\n",
    ),
    case(
        "a byte order mark elsewhere",
        SMALL,
        json("s", "\ufeff"),
        json("s", ' \ufeff{"k":"a"}'),
        json("s", '{"k":"a"}\n\ufeff{"k":"b"}'),
        "SELECT k FROM s",
        ends="",
    ),
    case(
        "a sorting key that names a column twice",
        "CREATE TABLE s (k String) ENGINE = MergeTree ORDER BY (k, k)",
        "EXISTS TABLE s",
    ),
    case("an integer of many digits", SMALL, json("s", f'{{"n":{DIGITS[:800]}}}'), "SELECT n FROM s"),
    case("conditions in many parentheses", SMALL, f"SELECT k FROM s WHERE {'(' * 40}k = 'a'{')' * 40}"),
)
"""Both releases."""

ODD_REFUSALS = (
    f"SELECT k FROM s LIMIT {DIGITS}",
    f"SELECT {DIGITS}",
    f"SELECT k FROM s WHERE n = {DIGITS}",
    f"SELECT k FROM s WHERE {'(' * 3000}k = 'a'{')' * 3000}",
    f"SELECT k FROM s WHERE {'NOT ' * 3000}k = 'a'",
    f"INSERT INTO s VALUES ('a', {DIGITS})",
    f"INSERT INTO s VALUES ('a', {'9' * 400}.0)",
    f'{INSERT}{{"n":{DIGITS}}}',
)
ODD_REFUSALS_OF_CURRENT = (
    '{"z":NaN}',
    '{"z":-Infinity}',
    '{"z":01}',
    '{"z":1.}',
    '{"z":[1,01]}',
    f'{{"z":{DIGITS}}}',
    f'{{"z":{"[" * 100_000}',
    '{"h":1234567890.5}',
    '{"h":1234567890e1}',
    f'{{"h":{DIGITS}}}',
    f'{{"g":{DIGITS}}}',
)
"""Rows for a Float64 g and a DateTime h."""

TARGETS_REFUSED = (
    "//[/?query=1",
    "http://clickhouse/?query=SELECT+1",
    "/caf\u00e9",
    "/?query=SELECT+1&z=%ff",
    "/?query=SELECT+1&database=%ff",
    "/?query=%ff",
)
