"""The words of SQL text: names, keywords, literals, parameters and symbols, each with its place."""

import re
from typing import NoReturn

import attrs

from simulator.services.postgresql.errors import PostgreSQLError, refuse

__all__ = ["RESERVED", "Token", "scan"]

TOKEN = re.compile(
    r"""(?:[ \t\r\n\f]|--[^\r\n]*)*(?:
    (?P<word>[A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*)
    |(?P<decimal>(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)
    |(?P<integer>[0-9]+)
    |(?P<parameter>\$[0-9]+)
    |(?P<string>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+")
    |(?P<symbol><>|!=|<=|>=|[(),.;*=<>+-])
    |(?P<end>\Z)
    )""",
    re.VERBOSE,
)
NAME_BYTES_MAX = 63
# What would make another operator of a symbol. A minus does only of one with an exclamation mark.
OPERATOR_GOES_ON = dict.fromkeys(("+", "-", "<", ">", "=", "*", "<>", "<=", ">="), "~!@#%^&|`?/*+<>=")
OPERATOR_GOES_ON["!="] = "~!@#%^&|`?/*+<>=-"
SHOWN_CHARACTERS = 60

# pg_get_keywords() of release 15, categories R and T: no column or table has such a name without quotes.
RESERVED = frozenset(
    """all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric table tablesample then to trailing true union unique
    user using variadic verbose when where window with""".split()  # noqa: SIM905 - seventy words in quotes would be twenty lines
)


@attrs.frozen
class Token:
    """`text` is as the server takes it (a name folded to lower case, a string unquoted); `start` its place."""

    kind: str
    text: str
    start: int
    end: int


def scan(text: str) -> list[Token]:
    """Return the tokens of `text`, the last one of kind "end"."""
    tokens = []
    at = 0
    while True:
        match = TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            _fail(text, at)
        kind = match.lastgroup
        token = Token(kind, _meaning(kind, match[kind]), match.start(kind), match.end())
        _check(text, token)
        tokens.append(token)
        if kind == "end":
            return tokens
        at = match.end()


def _meaning(kind: str, written: str) -> str:
    match kind:
        case "word":
            # The server folds ASCII letters only, in a multi-byte encoding.
            return "".join(each.lower() if each.isascii() else each for each in written)
        case "string":
            return written[1:-1].replace("''", "'")
        case "quoted":
            return written[1:-1].replace('""', '"')
    return written


def _check(text: str, token: Token) -> None:
    behind = text[token.end : token.end + 1]
    if token.kind in ("integer", "decimal", "parameter") and (behind.isalnum() or behind in ("_", "$", ".")):
        refuse(f"what begins with {text[token.start : token.end + 10]!r}")
    if token.kind in ("word", "quoted") and len(token.text.encode()) > NAME_BYTES_MAX:
        refuse(f"a name of more than {NAME_BYTES_MAX} bytes")
    if token.kind == "word" and behind == "'":
        refuse(f"the string {text[token.start : token.end + 10]!r}")
    if token.kind == "string" and text[token.end :].lstrip(" \t")[:1] in ("\n", "\r"):
        continued = text[token.end :].lstrip()
        if continued.startswith("'"):
            refuse("a string continued on the next line")
    if token.kind == "symbol" and behind and behind in OPERATOR_GOES_ON.get(token.text, ""):
        refuse(f"the operator {text[token.start : token.end + 1]!r}")


def _fail(text: str, at: int) -> NoReturn:
    rest = text[at:].lstrip()
    if rest.startswith("'"):
        raise PostgreSQLError("42601", f'unterminated quoted string at or near "{rest}"')
    if rest.startswith('"') and '"' not in rest[1:]:
        raise PostgreSQLError("42601", f'unterminated quoted identifier at or near "{rest}"')
    refuse(repr(" ".join(rest.split())[:SHOWN_CHARACTERS]))
