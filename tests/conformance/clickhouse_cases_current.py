"""What the simulated and the real ClickHouse of today must answer alike, beside the cases of both releases."""

import attrs

from tests.conformance.clickhouse_cases import REMEMBERS, SMALL, Ask, case, json, unordered

__all__ = ["CASES_OF_CURRENT", "REFUSALS_OF_CURRENT"]


def with_token(token: str, ask: Ask) -> Ask:
    return attrs.evolve(ask, settings={"insert_deduplication_token": token})


CASES_OF_CURRENT = (
    case(
        "a token inserts once, whatever the rows",
        REMEMBERS,
        with_token("a", json("s", '{"k":"a"}')),
        with_token("a", json("s", '{"k":"b"}')),
        with_token("b", json("s", '{"k":"a"}')),
        with_token("b", Ask("INSERT INTO s (n) VALUES (7)")),
        "SELECT k, n FROM s",
        ends="a\t0\na\t0\n",
    ),
    case(
        "the same block inserts once",
        REMEMBERS,
        json("s", '{"k":"a","n":1}', '{"k":"b"}'),
        json("s", '{"n":1, "k":"a"}', '{"k":"b","n":0}'),
        "INSERT INTO s VALUES ('a', 1), ('b', 0)",
        "INSERT INTO s (k, n) VALUES ('a', 1), ('b', 0)",
        "SELECT count() FROM s",
        ends="2\n",
    ),
    case(
        "the same rows in another order, or with other columns, are another block",
        REMEMBERS,
        "INSERT INTO s VALUES ('a', 0), ('b', 0)",
        "INSERT INTO s VALUES ('b', 0), ('a', 0)",
        "INSERT INTO s (k) VALUES ('a'), ('b')",
        "INSERT INTO s (n, k) VALUES (0, 'a'), (0, 'b')",
        Ask("INSERT INTO s (k) FORMAT JSONEachRow", b'{"k":"a"}{"k":"b"}'),
        "SELECT count() FROM s",
        ends="8\n",
    ),
    case(
        "a token and the same rows without one are two",
        REMEMBERS,
        with_token("a", json("s", '{"k":"a"}')),
        json("s", '{"k":"a"}'),
        with_token("", json("s", '{"k":"a"}')),
        "SELECT count() FROM s",
        ends="2\n",
    ),
    case(
        "only the last blocks are remembered, and a repeated one is not the last again",
        REMEMBERS.replace("= 9", "= 2"),
        *(with_token(token, json("s", '{"k":"a"}')) for token in ("a", "b", "a", "c", "a", "c", "b")),
        "SELECT count() FROM s",
        ends="5\n",
    ),
    case(
        "an insert of nothing leaves no token",
        REMEMBERS,
        with_token("a", json("s", " ")),
        with_token("a", json("s", '{"k":"a"}')),
        "SELECT count() FROM s",
        ends="1\n",
    ),
    case(
        "a failed insert leaves no token",
        REMEMBERS,
        with_token("a", json("s", '{"k":"a"}', "nonsense")),
        with_token("a", json("s", '{"k":"a"}')),
        "SELECT count() FROM s",
        ends="1\n",
    ),
    case(
        "truncate and drop forget",
        REMEMBERS,
        with_token("a", json("s", '{"k":"a"}')),
        "TRUNCATE TABLE s",
        with_token("a", json("s", '{"k":"a"}')),
        "SELECT count() FROM s",
        "DROP TABLE s",
        REMEMBERS,
        with_token("a", json("s", '{"k":"a"}')),
        "SELECT count() FROM s",
        ends="1\n",
    ),
    case(
        "a token without a window means nothing",
        SMALL,
        with_token("a", json("s", '{"k":"a"}')),
        with_token("a", json("s", '{"k":"a"}')),
        "SELECT count() FROM s",
        ends="2\n",
    ),
    case(
        "a window of nothing",
        REMEMBERS.replace("= 9", "= 0"),
        json("s", '{"k":"a"}'),
        json("s", '{"k":"a"}'),
        "SELECT count() FROM s",
        ends="2\n",
    ),
    case(
        "a replacing table remembers blocks as they came, and keeps one row of a key",
        REMEMBERS.replace("MergeTree", "ReplacingMergeTree"),
        json("s", '{"k":"a","n":1}', '{"k":"a","n":2}'),
        "SELECT * FROM s",
        json("s", '{"k":"a","n":2}'),
        "SELECT count() FROM s",
        json("s", '{"k":"a","n":1}', '{"k":"a","n":2}'),
        "SELECT * FROM s FINAL",
        ends="a\t2\n",
    ),
    case(
        "unknown fields are skipped",
        SMALL,
        json("s", '{"z":{"a":[1,"]}",null]},"k":"a","z":2}', '{"k":"b","y":"\\u00e9"}'),
        unordered("SELECT * FROM s"),
    ),
)

REFUSALS_OF_CURRENT = (
    "a byte order mark elsewhere",
    "literal of another type",
    "membership of another type",
    "moments as seconds, in ISO form, and as zero",
    "not json",
    "number for a string",
    "rows apart by comma and semicolon",
    "unquoted date",
)
"""The cases in which today's server takes what 18.16 did not, or in other ways, and which the simulation refuses."""
