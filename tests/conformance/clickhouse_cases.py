"""What the simulated and the real ClickHouse must answer alike: each case a conversation that starts with no tables."""

from collections.abc import Mapping

import attrs

__all__ = ["CASES", "REFUSALS", "REMEMBERS", "SMALL", "Ask", "Case", "case", "json", "unordered"]


@attrs.frozen
class Ask:
    """One request. With `data` the query goes into the URL and the data is the body; with `get` there is no body.

    `unordered` compares the lines of the answer as a multiset, for a statement that promises no order.
    """

    query: str
    data: bytes | None = None
    get: bool = False
    unordered: bool = False
    database: str | None = None
    path: str = "/"
    settings: Mapping[str, str] = {}


@attrs.frozen
class Case:
    """A named conversation. `ends` is what the last answer must be, where it is short enough to say."""

    name: str
    asks: tuple[Ask, ...]
    ends: str | None = None


def case(name: str, *asks: str | Ask, ends: str | None = None) -> Case:
    return Case(name, tuple(Ask(ask) if isinstance(ask, str) else ask for ask in asks), ends)


def json(table: str, *rows: str) -> Ask:
    return Ask(f"INSERT INTO {table} FORMAT JSONEachRow", "\n".join(rows).encode())


def unordered(query: str) -> Ask:
    return Ask(query, unordered=True)


REMEMBERS = (
    "CREATE TABLE s (k String, n UInt64) ENGINE = MergeTree ORDER BY k SETTINGS non_replicated_deduplication_window = 9"
)
ALL_TYPES = (
    "CREATE TABLE t (k String, a UInt8, b UInt16, c UInt32, d UInt64, e Int32, f Int64, g Float64, h DateTime, i Date) "
    "ENGINE = MergeTree() ORDER BY (k)"
)
SMALL = "CREATE TABLE s (k String, n UInt64) ENGINE = MergeTree ORDER BY k"
LATEST = "CREATE TABLE r (k String, n UInt64) ENGINE = ReplacingMergeTree() ORDER BY (k)"
EVENTS = (
    SMALL,
    json("s", '{"k":"a","n":1}', '{"k":"b","n":2}', '{"k":"a","n":3}', '{"k":"c","n":18446744073709551615}'),
)
TEXTS = (
    r"""{"k":"quotes \" and ' and backslash \\ and slash / and \/"}""",
    r"""{"k":"\b\f\n\r\t\u0000\u0001\u001f\u007f"}""",
    r"""{"k":"é \u00e9 \u2028\u2029 \ud83d\ude00 日本"}""",
)

CASES = (
    case("ping", Ask("", get=True, path="/ping"), ends="Ok.\n"),
    case("root without a query", Ask("", get=True), ends="Ok.\n"),
    case("select a number", "SELECT 1", Ask("SELECT 1", get=True), "select 300 as x, 70000;", ends="300\t70000\n"),
    case("select a number as json", "SELECT 1 AS one FORMAT JSONEachRow", ends='{"one":1}\n'),
    case("empty query", "", "  \n"),
    case("query split between parameter and body", *EVENTS, Ask("SELECT n FROM s WHERE", b"k = 'b'"), ends="2\n"),
    case("create twice", SMALL, SMALL, SMALL.replace("TABLE", "TABLE IF NOT EXISTS")),
    case("create with a key that is no column", "CREATE TABLE x (k String) ENGINE = MergeTree ORDER BY z"),
    case("create with a column twice", "CREATE TABLE x (k String, k UInt8) ENGINE = MergeTree ORDER BY k"),
    case("create without a key", "CREATE TABLE x (k String) ENGINE = MergeTree() ORDER BY tuple()", "SHOW TABLES"),
    case("drop", SMALL, "DROP TABLE s", "EXISTS TABLE s", "DROP TABLE s", "DROP TABLE IF EXISTS s", ends=""),
    case("truncate", *EVENTS, "TRUNCATE TABLE s", "SELECT count() FROM s", "TRUNCATE TABLE x"),
    case("exists", SMALL, "EXISTS TABLE s", "EXISTS TABLE default.s", "EXISTS TABLE nowhere.s", "EXISTS TABLE x"),
    case("exists as json", "EXISTS TABLE x FORMAT JSONEachRow", ends='{"result":0}\n'),
    case("show tables in order of name", SMALL, LATEST, "SHOW TABLES", "SHOW TABLES FORMAT JSONEachRow"),
    case(
        "missing table",
        "SELECT k FROM x",
        json("x", '{"k":1}'),
        "INSERT INTO x VALUES (1)",
        "SELECT count() FROM x FINAL",
    ),
    case("other database", SMALL, "SELECT k FROM nowhere.s", "DROP TABLE nowhere.s", json("nowhere.s", '{"k":"a"}')),
    case("database parameter", SMALL, Ask("SELECT k FROM s", database="default"), Ask("SELECT 1", database="nowhere")),
    case(
        "get reads only",
        Ask(SMALL, get=True),
        SMALL,
        Ask("DROP TABLE s", get=True),
        Ask("TRUNCATE TABLE s", get=True),
        Ask("INSERT INTO s VALUES ('a', 1)", get=True),
        Ask("SELECT count() FROM s", get=True),
        ends="0\n",
    ),
    case(
        "keywords in either case",
        SMALL,
        "select k from s where not k = 'a' order by k desc limit 1 format TabSeparated",
    ),
    case(
        "quoted names",
        'CREATE TABLE `s` (`k` String, "n" UInt8) ENGINE = MergeTree ORDER BY `k`',
        'SELECT "n" FROM `s`',
    ),
    case(
        "every type there and back",
        ALL_TYPES,
        json(
            "t",
            '{"k":"x","a":255,"b":65535,"c":4294967295,"d":18446744073709551615,"e":-2147483648,'
            '"f":-9223372036854775808,"g":-1.5,"h":"2024-02-29 23:59:59","i":"2024-02-29"}',
        ),
        "SELECT * FROM t FORMAT JSONEachRow",
        "SELECT * FROM t",
        "SELECT min(a), max(b), sum(c), sum(d), sum(e), sum(f), max(g), min(h), max(i), uniqExact(h) FROM t",
    ),
    case(
        "defaults for missing fields",
        ALL_TYPES,
        json("t", "{}", '{"k":"z"}'),
        "SELECT * FROM t ORDER BY k FORMAT JSONEachRow",
        "SELECT * FROM t ORDER BY k",
    ),
    case(
        "numbers in quotes, null, and out of range",
        ALL_TYPES,
        json("t", '{"k":"a","a":"7","d":"18446744073709551615","e":"-5","g":"2.5"}', '{"k":"b","a":null,"d":null}'),
        json("t", '{"k":"c","a":300,"b":-0,"c":4294967296,"e":2147483648,"f":9223372036854775808}'),
        json("t", '{"k":"d","a":300,"c":4294967297,"e":2147483648,"f":9223372036854775808}', '{"k":"e","a":true}'),
        unordered("SELECT * FROM t FORMAT JSONEachRow"),
    ),
    case(
        "moments as seconds, in ISO form, and as zero",
        ALL_TYPES,
        json("t", '{"k":"a","h":1700000000}', '{"k":"b","h":"1700000000"}', '{"k":"c","h":"2023-11-14T22:13:20"}'),
        json("t", '{"k":"d","h":"0000-00-00 00:00:00","i":"0000-00-00"}', '{"k":"e","h":"1970-01-01 00:00:00"}'),
        json("t", '{"k":"f","h":"2023-11-14 22:13:20.5"}'),
        "SELECT k, h, i FROM t ORDER BY k",
        "SELECT k FROM t WHERE h >= '2023-11-14 22:13:20' AND i < '1970-01-02' ORDER BY k",
        ends="a\nb\nc\n",
    ),
    case(
        "floats as text",
        ALL_TYPES,
        json(
            "t",
            *(f'{{"k":"{n}","g":{g}}}' for n, g in enumerate(["0.1", "1", "-0.0", "100000000000000000", "123.456"])),
        ),
        json("t", *(f'{{"k":"{n}","g":{g}}}' for n, g in enumerate(["0.0000001", "0.000001", "0.30000000000000004"]))),
        unordered("SELECT k, g FROM t"),
        unordered("SELECT g FROM t WHERE g > 0.5 OR g = 0.1 FORMAT JSONEachRow"),
    ),
    case(
        "text that needs escaping",
        SMALL,
        json("s", *TEXTS),
        unordered("SELECT k FROM s"),
        unordered("SELECT k FROM s FORMAT JSONEachRow"),
        r"SELECT count() FROM s WHERE k = '\b\f\n\r\t\0\u0001'".replace(r"\u0001", "\x01\x1f\x7f"),
        "SELECT n FROM s WHERE k = 'é é \u2028\u2029 😀 日本'",
        ends="0\n",
    ),
    case(
        "quotes in a literal",
        SMALL,
        r"INSERT INTO s VALUES ('it\'s \"\\', 1)",
        "SELECT k FROM s",
        ends="it\\'s \"\\\\\n",
    ),
    case(
        "insert of nothing",
        SMALL,
        "INSERT INTO s FORMAT JSONEachRow",
        json("s", ""),
        json("s", " \n"),
        "SELECT k FROM s",
    ),
    case(
        "json in the same text",
        SMALL,
        'INSERT INTO s FORMAT JSONEachRow {"k":"a","n":1}',
        "SELECT * FROM s",
        ends="a\t1\n",
    ),
    case(
        "rows apart by comma and semicolon",
        SMALL,
        json("s", ' ,{"k":"a"},{"k":"b"};{"k":"c"}{"k":"d"};'),
        "SELECT k FROM s",
    ),
    case(
        "empty lines between rows",
        SMALL,
        json("s", '\n\n{"k":"a",', "", "", '"n":1}', "", '{"k":"b"}', "", ""),
        "INSERT INTO s VALUES ('c', 2),\n\n('d', 3)",
        "SELECT * FROM s ORDER BY k",
        ends="a\t1\nb\t0\nc\t2\nd\t3\n",
    ),
    case(
        "insert into named columns", SMALL, Ask("INSERT INTO s (n) FORMAT JSONEachRow", b'{"n":5}'), "SELECT * FROM s"
    ),
    case("field outside the named columns", SMALL, Ask("INSERT INTO s (k) FORMAT JSONEachRow", b'{"n":5}')),
    case("insert into a column that is not", SMALL, "INSERT INTO s (k, z) VALUES ('a', 1)"),
    case(
        "values",
        SMALL,
        "INSERT INTO s (n, k) VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO s VALUES",
        "SELECT * FROM s ORDER BY k",
    ),
    case("unknown field", SMALL, json("s", '{"k":"a"}', '{"k":"b","z":1}'), "SELECT count() FROM s", ends="0\n"),
    case("field given twice", SMALL, json("s", '{"k":"a","k":"b"}'), "SELECT count() FROM s", ends="0\n"),
    case(
        "number for a string", SMALL, json("s", '{"k":5}'), json("s", '{"k":null}'), "SELECT count() FROM s", ends="0\n"
    ),
    case(
        "text for a number",
        SMALL,
        json("s", '{"n":"abc"}'),
        json("s", '{"n":abc}'),
        "SELECT count() FROM s",
        ends="0\n",
    ),
    case("minus for unsigned", SMALL, json("s", '{"n":-1}'), "SELECT count() FROM s", ends="0\n"),
    case("fraction for an integer", SMALL, json("s", '{"n":1.5}'), "SELECT count() FROM s", ends="0\n"),
    case(
        "unquoted date",
        ALL_TYPES,
        json("t", '{"i":19000}'),
        json("t", '{"h":null}'),
        "SELECT count() FROM t",
        ends="0\n",
    ),
    case(
        "not json",
        SMALL,
        json("s", "nonsense"),
        json("s", '[{"k":"a"}]'),
        json("s", '{k:"a"}'),
        json("s", '{"k":"a",}'),
    ),
    case("unknown column", SMALL, "SELECT z FROM s", "SELECT k FROM s WHERE z = 1", "SELECT max(z) FROM s"),
    case("unknown column in a clause", SMALL, "SELECT n FROM s GROUP BY z", "SELECT k FROM s ORDER BY z"),
    case("column outside of GROUP BY", SMALL, "SELECT k, count() FROM s", "SELECT k, n FROM s GROUP BY k"),
    case(
        "literal of another type",
        SMALL,
        "SELECT k FROM s WHERE n < 'a'",
        "SELECT k FROM s WHERE k = 5",
        *(f"SELECT k FROM s WHERE k {operator} -300" for operator in ("!=", "<", "<=", ">", ">=")),
    ),
    case("membership of another type", SMALL, "SELECT k FROM s WHERE n IN ('a')", "SELECT k FROM s WHERE k NOT IN (1)"),
    case("sum of what is no number", ALL_TYPES, "SELECT sum(k) FROM t", "SELECT sum(h) FROM t", "SELECT sum(i) FROM t"),
    case(
        "aggregates",
        *EVENTS,
        "SELECT count(), COUNT(*), sum(n), min(n), Max(k), uniqExact(k) FROM s",
        "SELECT count() AS c, sum(n), max( k ), uniqExact(k) FROM s WHERE n < 3 FORMAT JSONEachRow",
        "SELECT count(), sum(n), min(n), max(k), uniqExact(k) FROM s WHERE k = 'none'",
        "SELECT k FROM s WHERE k = 'none' GROUP BY k",
        ends="",
    ),
    case(
        "group by",
        *EVENTS,
        unordered("SELECT k, count(), sum(n) FROM s GROUP BY k FORMAT JSONEachRow"),
        "SELECT k, n, count() AS c FROM s WHERE k != 'c' GROUP BY k, n ORDER BY n DESC",
        "SELECT k FROM s GROUP BY k ORDER BY count() DESC, k DESC LIMIT 2",
        ends="a\nc\n",
    ),
    case(
        "conditions",
        *EVENTS,
        "SELECT n FROM s WHERE k IN ('a', 'c') AND NOT n = 1 OR (n <= 2 AND k NOT IN ('a')) ORDER BY n",
        "SELECT n FROM s WHERE NOT (k = 'a' OR n > -1 AND n >= 3) ORDER BY n",
        "SELECT n FROM s WHERE n IN (1, 18446744073709551615, 7) ORDER BY n",
        "SELECT n FROM s WHERE n = 18446744073709551615 OR n < 3 ORDER BY n DESC LIMIT 2",
        ends="18446744073709551615\n2\n",
    ),
    case(
        "order and limit", *EVENTS, "SELECT * FROM s ORDER BY k ASC, n DESC LIMIT 3", "SELECT k FROM s LIMIT 0", ends=""
    ),
    case("alias in ORDER BY", *EVENTS, "SELECT n AS x, k AS y FROM s ORDER BY y, x DESC FORMAT JSONEachRow"),
    case(
        "replacing keeps the last of each key under FINAL",
        LATEST,
        json("r", '{"k":"a","n":9}', '{"k":"b","n":2}', '{"k":"a","n":1}'),
        unordered("SELECT * FROM r"),
        "SELECT * FROM r FINAL ORDER BY k",
        json("r", '{"k":"b","n":1}'),
        json("r", '{"k":"b","n":0}', '{"k":"c","n":5}'),
        "SELECT * FROM r FINAL ORDER BY k",
        "SELECT k FROM r FINAL WHERE n = 2",
        "SELECT count(), sum(n) FROM r FINAL WHERE n < 5",
        ends="2\t1\n",
    ),
    case(
        "the same block twice is two blocks",
        SMALL,
        json("s", '{"k":"a"}'),
        json("s", '{"k":"a"}'),
        "SELECT count() FROM s",
    ),
    case("final on a plain table", SMALL, "SELECT k FROM s FINAL"),
    case(
        "names of results", "SELECT 1 AS one", SMALL, "SELECT COUNT(*), Max(k), count( ) AS c FROM s FORMAT JSONEachRow"
    ),
    case(
        "facts, as an agent looks them up",
        "CREATE TABLE facts (name String, value String, weight UInt32) ENGINE = ReplacingMergeTree ORDER BY name",
        json("facts", '{"name":"x","value":"one","weight":1}', '{"name":"y","value":"two","weight":2}'),
        json("facts", '{"name":"x","value":"uno","weight":3}'),
        "SELECT value FROM facts FINAL WHERE name = 'x'",
        "SELECT count(), sum(weight), max(weight) FROM facts FINAL WHERE name IN ('x', 'y', 'z')",
        "SELECT name, max(weight) AS w FROM facts GROUP BY name ORDER BY w DESC LIMIT 1 FORMAT JSONEachRow",
        "SELECT value FROM facts WHERE name = 'none'",
        ends="",
    ),
    case(
        "settings of a release to come",
        attrs.evolve(Ask("SELECT 1"), settings={"insert_deduplication_token": "a"}),
        attrs.evolve(Ask("SELECT 1"), settings={"async_insert": "1", "wait_for_async_insert": "0"}),
        attrs.evolve(Ask("SELECT 1", database="nowhere"), settings={"async_insert_busy_timeout_ms": "5"}),
    ),
    case("a window of a release to come", REMEMBERS),
)
"""Both releases, each against its own server."""

REFUSALS = (
    "SELEC 1",
    "SELECT 1; SELECT 2",
    "SELECT now()",
    "SELECT k FROM s, s",
    "SELECT DISTINCT k FROM s",
    "SELECT k FROM s WHERE k LIKE 'a%'",
    "SELECT k FROM s WHERE n = 1 HAVING n = 1",
    "SELECT k FROM s WHERE k = n",
    "SELECT k FROM s WHERE k = 'it''s'",
    r"SELECT k FROM s WHERE k = '\q'",
    "SELECT k FROM s WHERE n = 1.5",
    "SELECT k FROM s LIMIT 1 OFFSET 1",
    "SELECT k FROM s SETTINGS max_threads = 1",
    "SELECT k FROM s FORMAT CSV",
    "SELECT upper(k) FROM s",
    "SELECT count(k) FROM s",
    "SELECT k AS x FROM s WHERE x = 'a'",
    "SELECT n AS k FROM s",
    "SELECT k, k FROM s",
    "SELECT k FROM system.tables",
    "SELECT 1 -- comment",
    "CREATE TABLE x (k Nullable(String)) ENGINE = MergeTree ORDER BY k",
    "CREATE TABLE x (k Decimal) ENGINE = MergeTree ORDER BY k",
    "CREATE TABLE x (k String DEFAULT 'a') ENGINE = MergeTree ORDER BY k",
    "CREATE TABLE x (k String) ENGINE = Memory",
    "CREATE TABLE x (k String) ENGINE = MergeTree",
    "CREATE TABLE x (k String, n UInt8) ENGINE = ReplacingMergeTree(n) ORDER BY k",
    "CREATE TABLE x (k String) ENGINE = MergeTree PARTITION BY k ORDER BY k",
    "CREATE TABLE x (k String) ENGINE = MergeTree ORDER BY k SETTINGS index_granularity = 1",
    "ALTER TABLE s ADD COLUMN x String",
    "OPTIMIZE TABLE s FINAL",
    "INSERT INTO s FORMAT CSV a,1",
    "INSERT INTO s SELECT k, n FROM s",
    "INSERT INTO s VALUES ('a', 'b')",
    "INSERT INTO s VALUES ('a', -1)",
    "INSERT INTO s VALUES ('a')",
    r'INSERT INTO s FORMAT JSONEachRow {"k":"\x"}',
    r'INSERT INTO s FORMAT JSONEachRow {"k":"\ud800"}',
)
