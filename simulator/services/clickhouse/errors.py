"""What the simulated ClickHouse answers instead of a result: the server's own errors, and our refusals."""

from typing import NoReturn

from simulator.errors import UnsupportedError
from simulator.services.clickhouse.release import Release

__all__ = ["ClickHouseError", "refuse"]

# HTTPHandler.cpp, later exceptionCodeToHTTPStatus.cpp; every other code is a 500.
STATUSES = {
    Release.V18_16: {
        400: (26, 38, 41, 62, 72),
        404: (46, 47, 50, 60, 73, 81, 115),
        411: (381,),
    },
    Release.CURRENT: {
        400: (
            *(6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321),
            *(376, 427, 441, 675, 676),
        ),
        401: (194,),
        403: (192, 193, 497, 512, 516),
        404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
        408: (159,),
        411: (381,),
        413: (229,),
        415: (779,),
        501: (48,),
        503: (76, 209, 439),
    },
}
NAMES = {
    16: "NO_SUCH_COLUMN_IN_TABLE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    33: "CANNOT_READ_ALL_DATA",
    36: "BAD_ARGUMENTS",
    43: "ILLEGAL_TYPE_OF_ARGUMENT",
    44: "ILLEGAL_COLUMN",
    47: "UNKNOWN_IDENTIFIER",
    57: "TABLE_ALREADY_EXISTS",
    60: "UNKNOWN_TABLE",
    62: "SYNTAX_ERROR",
    72: "CANNOT_PARSE_NUMBER",
    81: "UNKNOWN_DATABASE",
    115: "UNKNOWN_SETTING",
    117: "INCORRECT_DATA",
    164: "READONLY",
    181: "ILLEGAL_FINAL",
    215: "NOT_AN_AGGREGATE",
    241: "MEMORY_LIMIT_EXCEEDED",
    252: "TOO_MANY_PARTS",
    381: "HTTP_LENGTH_REQUIRED",
}


class ClickHouseError(Exception):
    """An error of the server itself, in the words of release 18.16; `current` are those of today, where we know them.

    `name` is that of a code which the simulation itself never gives.
    """

    def __init__(self, code: int, text: str, *, current: str | None = None, name: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self._current = text if current is None else current
        self._name = name

    def status(self, release: Release) -> int:
        """The HTTP status that goes with the code."""
        return next((status for status, codes in STATUSES[release].items() if self.code in codes), 500)

    def body(self, release: Release) -> str:
        """The response body."""
        if release is Release.V18_16:
            return f"Code: {self.code}, e.displayText() = DB::Exception: {self.text}, e.what() = DB::Exception\n"
        name = self._name or NAMES[self.code]
        return (
            f"Code: {self.code}. DB::Exception: {self._current} ({name}) (version {release.value} (official build))\n"
        )

    def headers(self, release: Release) -> tuple[tuple[str, str], ...]:
        """The headers that say the code too."""
        return () if release is Release.V18_16 else (("X-ClickHouse-Exception-Code", str(self.code)),)


def refuse(what: str) -> NoReturn:
    """Raise UnsupportedError: the real server may well know this, the simulated one does not guess."""
    raise UnsupportedError(f"wavetank: the simulated ClickHouse does not model: {what}")
