"""The types: how a value is read from text and from the binary format, shown as text, and turned into another type.

In memory integers are int, double precision is float, text is str (Unicode order of code points is the C collation's
order of UTF-8 bytes), boolean is bool, and NULL is None. Not modelled: NaN, and numeric, which a literal with a
decimal point has until it is used as double precision.
"""

import re
import struct
from collections.abc import Callable
from typing import TypeAlias

import attrs

from simulator.services.postgresql.errors import PostgreSQLError, refuse

__all__ = [
    "BIGINT",
    "BOOLEAN",
    "BY_OID",
    "COLUMN_TYPES",
    "DOUBLE",
    "INTEGER",
    "NUMERIC",
    "SMALLINT",
    "TEXT",
    "UNKNOWN",
    "ColumnType",
    "Value",
    "assigned",
    "common_number",
    "decode_text",
    "in_range",
    "shown",
]

Value: TypeAlias = str | int | float | bool | None

INTEGER_TEXT = re.compile(r"[ \t\n\r\f\v]*([-+]?[0-9]+)[ \t\n\r\f\v]*", re.ASCII)
FLOAT_TEXT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?inf(?:inity)?", re.IGNORECASE)
DIGITS_MAX = 19  # of a 64-bit integer
SPACE = " \t\n\r\f\v"
TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")
FIXED_BELOW = 1e15  # from here on the server writes an exponent; Python's repr does one power of ten later


@attrs.frozen(eq=False)
class ColumnType:
    """One type. `rank` orders the numbers from narrow to wide, and is 0 for what is no number; `size` is in bytes."""

    name: str
    oid: int
    size: int
    rank: int
    read: Callable[[str], Value]
    read_binary: Callable[[bytes], Value]


def decode_text(data: bytes) -> str:
    """Return UTF-8 as text. Raises 22021 for what PostgreSQL does not take as text."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        # The server names the whole character as far as it goes; the first byte tells how far it should.
        shown_bytes = " ".join(f"0x{byte:02x}" for byte in data[error.start : error.start + _length(data[error.start])])
        raise PostgreSQLError("22021", f'invalid byte sequence for encoding "UTF8": {shown_bytes}') from error
    if "\0" in text:
        raise PostgreSQLError("22021", 'invalid byte sequence for encoding "UTF8": 0x00')
    return text


def _length(first_byte: int) -> int:
    if first_byte & 0xE0 == 0xC0:
        return 2
    if first_byte & 0xF0 == 0xE0:
        return 3
    return 4 if first_byte & 0xF8 == 0xF0 else 1


def in_range(value: int, kind: ColumnType) -> int:
    """Return the integer if the type holds it. Raises 22003."""
    limit = 1 << (8 * kind.size - 1)
    if -limit <= value < limit:
        return value
    raise PostgreSQLError("22003", f"{kind.name} out of range")


def shown(value: Value) -> str:
    """Return a value as text, as results and the details of errors show it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "t" if value else "f"
    return _write_float(value) if isinstance(value, float) else str(value)


def common_number(left: ColumnType, right: ColumnType) -> ColumnType:
    """Return the wider of two types of numbers."""
    return left if left.rank >= right.rank else right


def assigned(source: ColumnType, target: ColumnType) -> Callable[[Value], Value] | None:
    """Return what an assignment does to a value that is not NULL; None if there is no such cast."""
    if source is target:
        return _same
    if target is TEXT:
        return _as_text
    if not (source.rank and target.rank):
        return None
    if target is DOUBLE:
        return _as_float
    if source.rank <= target.rank:
        return _same
    return lambda value: _narrowed(value, target)


def _same(value: Value) -> Value:
    return value


def _as_text(value: Value) -> Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    return shown(value)


def _as_float(value: Value) -> Value:
    assert isinstance(value, int | float)
    return float(value)


def _narrowed(value: Value, target: ColumnType) -> Value:
    assert isinstance(value, int | float)
    try:
        return in_range(round(value), target)
    except OverflowError as error:
        raise PostgreSQLError("22003", f"{target.name} out of range") from error


def _integer(name: str, oid: int, size: int, rank: int) -> ColumnType:
    limit = 1 << (8 * size - 1)
    binary = struct.Struct({2: "!h", 4: "!i", 8: "!q"}[size])

    def read(text: str) -> Value:
        match = INTEGER_TEXT.fullmatch(text)
        if match is None:
            raise _invalid(name, text)
        digits = match[1].lstrip("+-").lstrip("0") or "0"
        value = int(digits) if len(digits) <= DIGITS_MAX else 2 * limit
        if match[1].startswith("-"):
            value = -value
        if not -limit <= value < limit:
            raise PostgreSQLError("22003", f'value "{text}" is out of range for type {name}')
        return value

    def read_binary(data: bytes) -> Value:
        value: int = binary.unpack(_sized(data, size))[0]
        return value

    return ColumnType(name, oid, size, rank, read, read_binary)


def _invalid(name: str, text: str) -> PostgreSQLError:
    return PostgreSQLError("22P02", f'invalid input syntax for type {name}: "{text}"')


def _sized(data: bytes, size: int) -> bytes:
    """Return a value in binary format if it is of the size of its type."""
    if len(data) < size:
        raise PostgreSQLError("08P01", "insufficient data left in message")
    if len(data) > size:
        raise PostgreSQLError("22P03", "incorrect binary data format in bind parameter")
    return data


def _read_boolean(text: str) -> Value:
    word = text.strip(SPACE).lower()
    if word and word != "o":  # neither on nor off
        if any(each.startswith(word) for each in TRUE_WORDS):
            return True
        if any(each.startswith(word) for each in FALSE_WORDS):
            return False
    raise _invalid("boolean", text)


def _read_boolean_binary(data: bytes) -> Value:
    return _sized(data, 1) != b"\0"


def _read_float(text: str) -> Value:
    word = text.strip(SPACE)
    if word.lower() in ("nan", "+nan", "-nan"):
        refuse("the double precision NaN")
    if "0x" in word.lower():
        refuse("a double precision in hexadecimal digits")
    if not FLOAT_TEXT.fullmatch(word):
        raise _invalid("double precision", text)
    value = float(word)
    overflows = value in (float("inf"), float("-inf")) and "inf" not in word.lower()
    underflows = value == 0 and any(digit in "123456789" for digit in word.lower().partition("e")[0])
    if overflows or underflows:
        raise PostgreSQLError("22003", f'"{word}" is out of range for type double precision')
    return value


def _read_float_binary(data: bytes) -> Value:
    value: float = struct.unpack("!d", _sized(data, 8))[0]
    if value != value:
        refuse("the double precision NaN")
    return value


def _write_float(value: float) -> str:
    text = repr(value).removesuffix(".0")
    if "inf" in text:
        return text.replace("inf", "Infinity")
    if "e" in text or abs(value) < FIXED_BELOW:
        return text
    digits = text.lstrip("-")
    mantissa = digits.rstrip("0")
    point = "." if len(mantissa) > 1 else ""
    return f"{'-' if value < 0 else ''}{mantissa[0]}{point}{mantissa[1:]}e+{len(digits) - 1}"


def _read_text(text: str) -> Value:
    return text


def _never(_: object) -> Value:
    raise AssertionError("a value of a type that values never have")


SMALLINT = _integer("smallint", 21, 2, 1)
INTEGER = _integer("integer", 23, 4, 2)
BIGINT = _integer("bigint", 20, 8, 3)
NUMERIC = ColumnType("numeric", 1700, -1, 4, _never, _never)  # of literals only
DOUBLE = ColumnType("double precision", 701, 8, 5, _read_float, _read_float_binary)
BOOLEAN = ColumnType("boolean", 16, 1, 0, _read_boolean, _read_boolean_binary)
TEXT = ColumnType("text", 25, -1, 0, _read_text, decode_text)
UNKNOWN = ColumnType("unknown", 705, -2, 0, _read_text, decode_text)  # a quoted literal, NULL, or a parameter

BY_OID = {each.oid: each for each in (SMALLINT, INTEGER, BIGINT, DOUBLE, BOOLEAN, TEXT)}
COLUMN_TYPES = {
    "text": TEXT,
    "integer": INTEGER,
    "int": INTEGER,
    "int4": INTEGER,
    "bigint": BIGINT,
    "int8": BIGINT,
    "boolean": BOOLEAN,
    "bool": BOOLEAN,
    "double precision": DOUBLE,
    "float8": DOUBLE,
}
