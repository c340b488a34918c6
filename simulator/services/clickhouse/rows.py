"""Rows as text: JSONEachRow in, JSONEachRow and TabSeparated out, as JSONEachRowRowInputStream.cpp and its kin do."""

import re
from collections.abc import Callable, Mapping, Sequence

import attrs

from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.release import Release
from simulator.services.clickhouse.scanner import expect, read_json_string, skip_json_value, skip_spaces
from simulator.services.clickhouse.table import Row, Table
from simulator.services.clickhouse.types import ColumnType, Value

__all__ = ["FORMATS", "Format", "read_json_rows"]

MARK = re.compile(r"[ \t\f]*\r?\n?\ufeff(?=.)", re.DOTALL)  # before the data; alone, it is taken for data
ROWS_PER_BLOCK = 1_048_576  # max_insert_block_size: a longer insert would not be atomic


def read_json_rows(text: str, at: int, *, names: Mapping[str, int], table: Table) -> list[Row]:
    """Read rows from `at` to the end. `names` are the columns that may be given, with their places.

    Raises ClickHouseError for the first row that cannot be read; a caller that inserts nothing then is right.
    """
    rows: list[Row] = []
    if mark := MARK.match(text, at):
        at = mark.end()
    while True:
        at = skip_spaces(text, at)
        if table.release is Release.CURRENT and text[at : at + 1] in (",", ";", "["):
            refuse("rows in an array, or apart by comma or semicolon")
        if table.release is Release.CURRENT and text.startswith("\ufeff", at):
            refuse("a byte order mark between rows, behind white space, or alone")
        if text[at : at + 1] in (",", ";"):
            at = skip_spaces(text, at + 1)
        if at >= len(text):
            return rows
        if len(rows) == ROWS_PER_BLOCK:
            refuse(f"an insert of more than {ROWS_PER_BLOCK} rows")
        values = list(table.defaults)
        try:
            at = _read_row(text, at, names, table, values)
        except ClickHouseError as error:
            if error.code == 32:  # the server does not number the row that ends inside a number
                raise
            raise ClickHouseError(error.code, f"{error.text}: (at row {len(rows) + 1})\n") from None
        rows.append(tuple(values))


def _read_row(text: str, at: int, names: Mapping[str, int], table: Table, values: list[Value]) -> int:
    at = expect(text, at, "{")
    seen: list[str] = []
    while True:
        at = skip_spaces(text, at)
        if at >= len(text):
            raise ClickHouseError(33, "Unexpected end of stream while parsing JSONEachRow format")
        if text[at] == "}":
            return at + 1
        if seen:
            at = skip_spaces(text, expect(text, at, ","))
        name, at = _read_name(text, at)
        at = skip_spaces(text, expect(text, skip_spaces(text, at), ":"))
        place = names.get(name)
        if place is None and table.release is Release.CURRENT:
            seen.append(name)
            at = skip_json_value(text, at)
            continue
        if place is None or name in seen:
            what = "Unknown" if place is None else "Duplicate"
            raise ClickHouseError(117, f"{what} field found while parsing JSONEachRow format: {name}")
        seen.append(name)
        try:
            values[place], at = table.types[place].read(text, at)
        except ClickHouseError as error:
            raise ClickHouseError(error.code, f"{error.text}: (while read the value of key {name})") from None


def _read_name(text: str, at: int) -> tuple[str, int]:
    # The server's short cut for a name without escapes words a missing first quote differently.
    quote = text.find('"', at + 1)
    if quote >= 0 and text.find("\\", at + 1, quote) < 0:
        expect(text, at, '"')
    return read_json_string(text, at)


@attrs.frozen
class Format:
    """One output format: its Content-Type, and how a result is written."""

    content_type: str
    write: Callable[[Sequence[str], Sequence[ColumnType], Sequence[Row]], str]


def _write_json(names: Sequence[str], types: Sequence[ColumnType], rows: Sequence[Row]) -> str:
    keys = [_key(name) for name in names]
    writers = [column.json for column in types]
    lines = [",".join(key + write(value) for key, write, value in zip(keys, writers, row, strict=True)) for row in rows]
    return "".join(f"{{{line}}}\n" for line in lines)


def _key(name: str) -> str:
    return f'"{name}":'


def _write_tsv(names: Sequence[str], types: Sequence[ColumnType], rows: Sequence[Row]) -> str:
    writers = [column.tsv for column in types]
    return "".join("\t".join(write(value) for write, value in zip(writers, row, strict=True)) + "\n" for row in rows)


TAB_SEPARATED = Format("text/tab-separated-values; charset=UTF-8", _write_tsv)
FORMATS = {
    Release.V18_16: {
        "TabSeparated": TAB_SEPARATED,
        "JSONEachRow": Format("text/plain; charset=UTF-8", _write_json),
    },
    Release.CURRENT: {
        "TabSeparated": TAB_SEPARATED,
        "JSONEachRow": Format("application/x-ndjson; charset=UTF-8", _write_json),
    },
}
