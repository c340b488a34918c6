"""What the simulated ClickHouse answers instead of a result: the server's own errors, and our refusals."""

from typing import NoReturn

from simulator.errors import UnsupportedError

__all__ = ["ClickHouseError", "refuse"]

NOT_FOUND = frozenset({46, 47, 50, 60, 73, 81, 115})
BAD_REQUEST = frozenset({26, 38, 41, 62, 72})
LENGTH_REQUIRED = frozenset({381})


class ClickHouseError(Exception):
    """An error of the server itself, with the code and the words of release 18.16."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code (HTTPHandler.cpp, exceptionCodeToHTTPStatus)."""
        if self.code in NOT_FOUND:
            return 404
        if self.code in BAD_REQUEST:
            return 400
        return 411 if self.code in LENGTH_REQUIRED else 500

    @property
    def body(self) -> str:
        """The response body."""
        return f"Code: {self.code}, e.displayText() = DB::Exception: {self.text}, e.what() = DB::Exception\n"


def refuse(what: str) -> NoReturn:
    """Raise UnsupportedError: the real server may well know this, the simulated one does not guess."""
    raise UnsupportedError(f"wavetank: the simulated ClickHouse does not model: {what}")
