"""Reading a text the way the server reads its input: what is expected next, or the server's error."""

import json
import re
from typing import NoReturn

from simulator.services.clickhouse.errors import ClickHouseError, refuse

__all__ = ["TSV_ESCAPES", "expect", "read_json_string", "skip_json_value", "skip_spaces"]

SHOWN_CHARACTERS = 160
SPACES = re.compile(r"[ \t\n\r\v\f]*")
STRING_BODY = re.compile(r'[^"\\]*')
TSV_ESCAPES = {ord("\b"): "\\b", ord("\f"): "\\f", ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
TSV_ESCAPES |= {0: "\\0", ord("'"): "\\'", ord("\\"): "\\\\"}
ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\", '"': '"'}
NUMBER_GOES_ON = re.compile(r"[0-9.eE+-]")
HEX4 = re.compile(r"[0-9a-fA-F]{4}")


def skip_spaces(text: str, at: int) -> int:
    """Return the place of the next character that is not white space."""
    match = SPACES.match(text, at)
    assert match is not None  # the pattern matches the empty string
    return match.end()


def expect(text: str, at: int, what: str) -> int:
    """Return the place behind `what`. Raises the server's error 27, which shows what is there instead."""
    if text.startswith(what, at):
        return at + len(what)
    at += next(n for n in range(len(what)) if not text.startswith(what[: n + 1], at))
    rest = text[at : at + SHOWN_CHARACTERS].translate(TSV_ESCAPES)
    where = f" before: {rest}" if rest else " at end of stream."
    raise ClickHouseError(27, f"Cannot parse input: expected {what}{where}")


def read_json_string(text: str, at: int) -> tuple[str, int]:
    """Read a JSON string with its escapes. Raises the server's error 26 for missing quotes."""
    if not text.startswith('"', at):
        raise ClickHouseError(26, "Cannot parse JSON string: expected opening quote")
    at += 1
    pieces = []
    while True:
        match = STRING_BODY.match(text, at)
        assert match is not None  # the pattern matches the empty string
        pieces.append(match[0])
        at = match.end()
        if at >= len(text):
            raise ClickHouseError(26, "Cannot parse JSON string: expected closing quote")
        if text[at] == '"':
            return "".join(pieces), at + 1
        piece, at = _read_escape(text, at + 1)
        pieces.append(piece)


def skip_json_value(text: str, at: int) -> int:
    """Return the place behind a value that nobody wants."""
    try:
        end: int = UNWANTED.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        refuse("malformed or deep JSON in a field that the table does not have")
    if NUMBER_GOES_ON.match(text, end):
        refuse("an unusual number in a field that the table does not have")
    return end


def _refuse_constant(name: str) -> NoReturn:
    refuse(f"{name} in a field that the table does not have")


UNWANTED = json.JSONDecoder(parse_constant=_refuse_constant)


def _read_escape(text: str, at: int) -> tuple[str, int]:
    character = text[at : at + 1]
    if character == "u":
        return _read_code_point(text, at + 1)
    if character not in ESCAPES:
        refuse(f"the JSON escape \\{character}")
    return ESCAPES[character], at + 1


def _read_code_point(text: str, at: int) -> tuple[str, int]:
    first = _read_hex(text, at)
    if not 0xD800 <= first <= 0xDFFF:
        return chr(first), at + 4
    second = _read_hex(text, at + 6) if text.startswith("\\u", at + 4) else 0
    if first > 0xDBFF or not 0xDC00 <= second <= 0xDFFF:
        refuse("a JSON string with half a surrogate pair")
    return chr(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)), at + 10


def _read_hex(text: str, at: int) -> int:
    match = HEX4.match(text, at)
    return int(match[0], 16) if match else refuse(f"the JSON escape \\u{text[at : at + 4]}")
