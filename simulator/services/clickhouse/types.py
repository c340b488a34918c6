"""The column types: defaults, how a value is read from JSON and from an SQL literal, and how it is written.

In memory an integer is an int, Float64 a float, String a str (so invalid UTF-8 is refused), DateTime whole
seconds and Date whole days since 1970, both UTC. Not modelled: dates outside 1970 to 2104, invalid calendar dates
(18.16 stores zero or nonsense), NaN, infinity, and one error of 18.16: it reads about one decimal in 200 a last bit
off (0.5158445955 comes back as 0.5158445955000001), where the simulation rounds correctly.
"""

import datetime
import math
import re
from collections.abc import Callable
from decimal import Decimal

import attrs

from simulator.services.clickhouse.errors import ClickHouseError, refuse
from simulator.services.clickhouse.release import Release
from simulator.services.clickhouse.scanner import TSV_ESCAPES, expect, read_json_string

__all__ = ["TYPES", "ColumnType", "Value"]

Value = int | float | str
Reader = Callable[[str, int], tuple[Value, int]]

EPOCH = datetime.datetime(1970, 1, 1)
DIGITS_MAX = 1000  # that are read; the server reads any number of them
SECONDS_DIGITS_MAX = 20
FIRST_UNMODELLED_S = 4_260_211_200  # 2105-01-01, where the server's table of days ends
INTEGER = re.compile(r"[-+]?[0-9]*")
FLOAT = re.compile(r"(?:-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)?")
AFTER_EOF = "Attempt to read after eof"
DATE_TIME = re.compile(r"[0-9]{4}-[0-9][0-9]-[0-9][0-9][ T][0-9][0-9]:[0-9][0-9]:[0-9][0-9]")
DATE = re.compile(r"[0-9]{4}-[0-9][0-9]-[0-9][0-9]")
DIGITS = re.compile(r"[0-9]*")
SECONDS = re.compile(r"[0-9]{5,10}(?=\")")
JSON_ESCAPES = {ord(c): f"\\u{ord(c):04X}" for c in map(chr, range(0x20))}
JSON_ESCAPES |= {ord("\b"): "\\b", ord("\f"): "\\f", ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
JSON_ESCAPES |= {ord('"'): '\\"', ord("\\"): "\\\\", ord("/"): "\\/", 0x2028: "\\u2028", 0x2029: "\\u2029"}


@attrs.frozen(eq=False)
class ColumnType:
    """One type. `read` takes a text and a place in it and returns the value and the place behind it."""

    name: str
    kind: str
    default: Value
    read: Reader
    tsv: Callable[[Value], str]
    json: Callable[[Value], str]

    def of_literal(self, literal: Value) -> Value:
        """Return an SQL literal as a value of this type, to be stored or compared with; refuse what is not one."""
        if self.kind == "String" and isinstance(literal, str):
            return literal
        if self.kind == "Float" and isinstance(literal, int | float):
            return float(literal)
        if self.kind == "Integer" and isinstance(literal, int):
            return literal
        if self.kind == "DateTime" and isinstance(literal, str) and DATE_TIME.fullmatch(literal):
            return _seconds(literal)
        if self.kind == "Date" and isinstance(literal, str) and DATE.fullmatch(literal):
            return _days(literal)
        return refuse(f"the literal {literal!r} as a {self.name}")

    def holds(self, value: Value) -> bool:
        """Say whether a converted literal is in the range of this type."""
        return self.kind != "Integer" or _wrap(int(value), self.name) == value


def _wrap(value: int, type_name: str) -> int:
    """Return what is left of an integer that does not fit: the server checks no overflow."""
    bits = int(type_name.lstrip("UInt"))
    value &= (1 << bits) - 1
    return value - (1 << bits) if type_name[0] == "I" and value >> (bits - 1) else value


def _integer_reader(name: str) -> Callable[[str, int], tuple[int, int]]:
    signed = name[0] == "I"

    def read(text: str, at: int) -> tuple[int, int]:
        quoted = text.startswith('"', at)
        at += quoted
        if at >= len(text):
            raise ClickHouseError(32, AFTER_EOF)
        if not quoted and text[at] == "n":
            return 0, expect(text, at + 1, "ull")
        if name == "UInt8" and text[at] in "tf":
            return int(text[at] == "t"), _closed(text, expect(text, at, "true" if text[at] == "t" else "false"), quoted)
        match = INTEGER.match(text, at)
        assert match is not None  # the pattern matches the empty string
        digits = match[0]
        if digits.startswith("-") and not signed:
            raise ClickHouseError(72, "Unsigned type must not contain '-' symbol")
        if text[match.end() : match.end() + 1] in ("-", "+"):
            refuse("a sign inside an integer")
        if len(digits) > DIGITS_MAX:
            refuse(f"an integer of more than {DIGITS_MAX} digits")
        return _wrap(int(digits if digits.strip("+-") else 0), name), _closed(text, match.end(), quoted)

    return read


def _closed(text: str, at: int, quoted: bool) -> int:
    return expect(text, at, '"') if quoted else at


def _read_float(text: str, at: int) -> tuple[float, int]:
    quoted = text.startswith('"', at)
    at += quoted
    if at >= len(text):
        raise ClickHouseError(72, "Cannot read floating point value")
    match = FLOAT.match(text, at)
    assert match is not None  # the pattern matches the empty string
    value = float(match[0] or 0)
    if text[match.end() : match.end() + 1] in tuple("+-.eEiInN") or math.isinf(value):
        refuse(f"the Float64 {text[at : at + 32]!r}")
    return value, _closed(text, match.end(), quoted)


def _read_string(text: str, at: int) -> tuple[str, int]:
    return read_json_string(text, at)


def _strictly(name: str, read: Reader, *, begins: str) -> Reader:
    """Return a reader that refuses what today's server takes in ways of its own: null, zero dates, fractions."""

    def read_strictly(text: str, at: int) -> tuple[Value, int]:
        what = f"the {name} {text[at : at + 32]!r}"
        if (at < len(text) and text[at] not in begins) or text.startswith('"0000-', at):
            refuse(what)
        try:
            value, end = read(text, at)
        except ClickHouseError as error:
            if error.code == 27:
                refuse(what)
            raise
        if text[end : end + 1] in tuple(".eE"):
            refuse(what)
        return value, end

    return read_strictly


def _read_date_time(text: str, at: int) -> tuple[int, int]:
    if not text.startswith('"', at):
        return _read_bare_seconds(text, at)
    if match := DATE_TIME.match(text, at + 1):
        return _seconds(match[0]), expect(text, match.end(), '"')
    if match := SECONDS.match(text, at + 1):
        return _modelled_seconds(int(match[0])), expect(text, match.end(), '"')
    return refuse(f"the DateTime {text[at : at + 32]!r} (write YYYY-MM-DD hh:mm:ss)")


def _read_bare_seconds(text: str, at: int) -> tuple[int, int]:
    if at >= len(text):
        raise ClickHouseError(32, AFTER_EOF)
    match = DIGITS.match(text, at)
    assert match is not None  # the pattern matches the empty string
    if text[match.end() : match.end() + 1] in ("-", "+"):
        refuse("a sign inside a DateTime")
    if len(match[0]) > SECONDS_DIGITS_MAX:
        refuse(f"a DateTime of more than {SECONDS_DIGITS_MAX} digits")
    return _modelled_seconds(int(match[0] or 0)), match.end()


def _read_date(text: str, at: int) -> tuple[int, int]:
    at = expect(text, at, '"')
    if match := DATE.match(text, at):
        return _days(match[0]), expect(text, match.end(), '"')
    return refuse(f"the Date {text[at : at + 32]!r} (write YYYY-MM-DD)")


def _seconds(text: str) -> int:
    if text[:4] == "0000" and not text.strip("0-: T"):
        return 0
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        refuse(f"the DateTime {text!r}, which is no moment of the calendar")
    return _modelled_seconds((moment - EPOCH) // datetime.timedelta(seconds=1))


def _days(text: str) -> int:
    return 0 if text == "0000-00-00" else _seconds(f"{text} 00:00:00") // 86_400


def _modelled_seconds(seconds: int) -> int:
    if not 0 <= seconds < FIRST_UNMODELLED_S:
        refuse(f"a date outside 1970 to 2104 ({seconds} s)")
    return seconds


def _date_time_text(value: Value) -> str:
    """Write a moment as today's server does: 18.16 has another zero."""
    return str(EPOCH + datetime.timedelta(seconds=value)) if isinstance(value, int) else ""


def _date_text(value: Value) -> str:
    return _date_time_text(value * 86_400)[:10] if isinstance(value, int) else ""


def _or_zero(write: Callable[[Value], str]) -> Callable[[Value], str]:
    zero = re.sub("[0-9]", "0", write(0))
    return lambda value: write(value) if value else zero


def _float_text(value: Value) -> str:
    """Write the shortest decimal that reads back the same, with an exponent below 1e-6 and from 1e21 on."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)  # neither NaN nor infinity is ever stored
    magnitude = len(digits) - 1 + exponent
    if value and not -6 <= magnitude < 21:
        mantissa = "".join(map(str, digits))
        point = "." if len(mantissa) > 1 else ""
        return f"{'-' * sign}{mantissa[0]}{point}{mantissa[1:]}e{magnitude}"
    return f"{Decimal(repr(value)).normalize():f}"


def _string_json(value: Value) -> str:
    return f'"{str(value).translate(JSON_ESCAPES)}"'


def _string_tsv(value: Value) -> str:
    return str(value).translate(TSV_ESCAPES)


def _quoted(write: Callable[[Value], str]) -> Callable[[Value], str]:
    return lambda value: f'"{write(value)}"'


def _integer(name: str, *, quoted: bool) -> ColumnType:
    return ColumnType(name, "Integer", 0, _integer_reader(name), str, _quoted(str) if quoted else str)


def _date(name: str, read: Reader, write: Callable[[Value], str]) -> ColumnType:
    return ColumnType(name, name, 0, read, write, _quoted(write))


def _string(read: Reader) -> ColumnType:
    return ColumnType("String", "String", "", read, _string_tsv, _string_json)


INTEGERS = ("UInt8", "UInt16", "UInt32", "UInt64", "Int32", "Int64")
FLOAT64 = ColumnType("Float64", "Float", 0.0, _read_float, _float_text, _float_text)
TYPES = {
    Release.V18_16: {
        # 64-bit integers are quoted in JSON, because JavaScript could not hold them.
        **{name: _integer(name, quoted=name.endswith("64")) for name in INTEGERS},
        "Float64": FLOAT64,
        "String": _string(_read_string),
        "DateTime": _date("DateTime", _read_date_time, _or_zero(_date_time_text)),
        "Date": _date("Date", _read_date, _or_zero(_date_text)),
    },
    Release.CURRENT: {
        **{name: _integer(name, quoted=False) for name in INTEGERS},
        "Float64": FLOAT64,
        "String": ColumnType(
            "String", "String", "", _strictly("String", _read_string, begins='"'), _string_tsv, _string_json
        ),
        "DateTime": _date("DateTime", _strictly("DateTime", _read_date_time, begins='"0123456789'), _date_time_text),
        "Date": _date("Date", _strictly("Date", _read_date, begins='"'), _date_text),
    },
}
