"""PostgreSQL's protocol 3. A message is what one side sends before it waits for the other.

Those of the protocol would be too small: a reply of a thousand rows has more than a thousand, and to keep back one row
means nothing to a client. So to upstream a message ends with the request that makes the server answer (Query, Sync,
Flush, FunctionCall, a password, the end of COPY), or with a start-up request, which has no type. To the client it
ends

- with ReadyForQuery, and with the last answer to what was flushed (asyncpg prepares so, and waits before it binds);
- where the server waits for the client: a request for a password, CopyInResponse, one byte about encryption;
- with an error after which nothing is owed: before the session began, between exchanges, or before a Sync;
- with a notification, notice or setting that comes when nothing is owed. In an exchange it is part of the reply.

COPY in both directions (replication) is a stream: each CopyData is a message. An encrypted connection is lost. The
answers to several Flushes are one message if the last was sent before the first was answered.

Source: chapter 55 of PostgreSQL's documentation.
"""

import struct
from typing import Final

import attrs

from simulator.live.framing.finder import END, Framing, Grammar, GrammarFinder, Skip, Take

__all__ = ["postgresql"]

STARTUP: Final = struct.Struct("!II")
HEAD: Final = struct.Struct("!cI")
CODE: Final = struct.Struct("!I")
LENGTH_BYTES: Final = 4  # a length counts itself
STARTUP_BYTES_MAX: Final = 10_000
MESSAGE_BYTES_MAX: Final = 0x3FFFFFFF
VERSION: Final = 3
ENCRYPTIONS: Final = (80877103, 80877104)  # SSLRequest, GSSENCRequest
UNVERSIONED: Final = (80877102, *ENCRYPTIONS)  # CancelRequest
ENCRYPTED: Final = b"SG"
NOT_ENCRYPTED: Final = b"N"
NOTHING_TO_ANSWER: Final = (0, 12)  # AuthenticationOk and SASLFinal: more follows by itself

FROM_CLIENT: Final = b"BCDEFHPQSXcdfp"
FROM_SERVER: Final = b"123ACDEGHIKNRSTVWZcdnstv"
EXTENDED: Final = b"PBDEC"
ANSWERS_EXTENDED: Final = b"123TnCIs"  # one to each of those
UNASKED: Final = b"ANS"


def postgresql() -> Framing:
    """Return the framing of one connection to PostgreSQL."""
    session = _Session()
    return Framing(GrammarFinder(_from_client(session)), GrammarFinder(_from_server(session)))


@attrs.define
class _Session:
    """What each direction must know of the other."""

    is_encryption_asked: bool = False
    is_encrypted: bool = False
    is_begun: bool = False  # the server was ready once
    is_simple: bool = True  # the last command came as a Query
    is_flushed: bool = False  # all of that was
    is_stream: bool = False
    ready_owed: int = 0  # how many ReadyForQuery are to come
    answers_owed: int = 0  # to what was sent since the last Sync

    def request_ends(self, kind: bytes) -> bool:
        """Take a message of the client, and say whether it makes the server answer."""
        if kind in EXTENDED:
            self.answers_owed += 1
            self.is_flushed = False
            return False
        if kind in b"QSF":
            self.ready_owed += 1
            self.is_simple = kind == b"Q"
            self.answers_owed = 0  # what is not answered yet is so before ReadyForQuery
        if kind == b"H":
            self.is_flushed = True
        if kind in b"cf":
            return self.is_simple  # otherwise a Sync follows
        return kind != b"d" or self.is_stream

    def reply_ends(self, kind: bytes, code: int) -> bool:
        """Take a message of the server, and say whether nothing more of it follows by itself."""
        if kind == b"Z":
            self.ready_owed = max(0, self.ready_owed - 1)
            self.is_begun, self.is_stream = True, False
            return True
        if kind == b"E":
            return not (self.is_begun and self.ready_owed)
        if kind == b"G" and not self.is_simple:
            self.ready_owed = max(0, self.ready_owed - 1)  # a server that waits for data ignores Sync
        if kind in ANSWERS_EXTENDED and self.answers_owed and not self.ready_owed:
            self.answers_owed -= 1
            return self.is_flushed and not self.answers_owed
        self.is_stream = self.is_stream or kind == b"W"
        if kind in UNASKED:
            return not (self.ready_owed or self.answers_owed)
        return kind in b"GW" or (kind == b"R" and code not in NOTHING_TO_ANSWER) or (kind == b"d" and self.is_stream)


def _from_client(session: _Session) -> Grammar:
    code = 0
    while code >> 16 != VERSION:
        length, code = STARTUP.unpack((yield Take(STARTUP.size)))
        if not STARTUP.size <= length <= STARTUP_BYTES_MAX or (code >> 16 != VERSION and code not in UNVERSIONED):
            raise ValueError("no start-up request")
        yield Skip(length - STARTUP.size)
        session.is_encryption_asked = code in ENCRYPTIONS
        session.ready_owed = int(code >> 16 == VERSION)
        yield END
        if session.is_encrypted:
            return
    while True:
        kind, length = _head((yield Take(HEAD.size)), FROM_CLIENT)
        yield Skip(length)
        if session.request_ends(kind):
            yield END


def _from_server(session: _Session) -> Grammar:
    while True:
        if session.is_encryption_asked:
            session.is_encryption_asked = False
            answer = yield Take(1)
            session.is_encrypted = answer in ENCRYPTED
            if session.is_encrypted or answer == NOT_ENCRYPTED:
                yield END
                if session.is_encrypted:
                    return
                continue
            head = answer + (yield Take(HEAD.size - 1))  # an error, of a server that knows no such request
        else:
            head = yield Take(HEAD.size)
        kind, length = _head(head, FROM_SERVER)
        code = 0
        if kind == b"R" and length >= CODE.size:
            (code,) = CODE.unpack((yield Take(CODE.size)))
            length -= CODE.size
        yield Skip(length)
        if session.reply_ends(kind, code):
            yield END


def _head(head: bytes, kinds: bytes) -> tuple[bytes, int]:
    """Return the kind of a message, and how many bytes follow its head."""
    kind, length = HEAD.unpack(head)
    if kind not in kinds or not LENGTH_BYTES <= length <= MESSAGE_BYTES_MAX:
        raise ValueError("no message")
    return kind, length - LENGTH_BYTES
