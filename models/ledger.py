"""The ledger in PostgreSQL: messages, the results of their agents, and the replies. What is here has happened.

Every change is one transaction that may be repeated without effect, because the answer to a commit can be lost:
messages are keyed by user and id, results by run and node, replies by user and number.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar
from urllib.parse import quote

import attrs
import msgspec
import trio

from models.breaker import Breaker, BreakerOpenError
from models.config import PlatformConfig
from models.database import (
    ConflictError,
    Database,
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnavailableError,
    OutcomeUnknownError,
    Row,
    Script,
    Statement,
)
from models.protocol import Message, Reply
from models.workflow import NodeOutcome

__all__ = [
    "REPLIES_MAX",
    "Ledger",
    "LedgerRefusedError",
    "LedgerUnavailableError",
    "OpenMessage",
    "OverloadedError",
    "run_of",
]

T = TypeVar("T")

REPLIES_MAX = 100
"""How many replies are read at once."""
TABLES = (
    "CREATE TABLE IF NOT EXISTS users (user_id text PRIMARY KEY, seq bigint NOT NULL, open bigint NOT NULL)",
    "CREATE TABLE IF NOT EXISTS messages (n bigint GENERATED ALWAYS AS IDENTITY, user_id text NOT NULL, "
    "message_id text NOT NULL, body text NOT NULL, context text NOT NULL, workflow text NOT NULL, "
    "state text NOT NULL, PRIMARY KEY (user_id, message_id))",
    "CREATE TABLE IF NOT EXISTS results (run text NOT NULL, node text NOT NULL, status text NOT NULL, "
    "result text NOT NULL, PRIMARY KEY (run, node))",
    "CREATE TABLE IF NOT EXISTS actions (run text NOT NULL, node text NOT NULL, user_id text NOT NULL)",
    "CREATE TABLE IF NOT EXISTS replies (user_id text NOT NULL, seq bigint NOT NULL, message_id text NOT NULL, "
    "body text NOT NULL, PRIMARY KEY (user_id, seq))",
)
COUNT_IN = (
    "INSERT INTO users (user_id, seq, open) VALUES ($1, 0, 1) "
    "ON CONFLICT (user_id) DO UPDATE SET open = users.open + 1 RETURNING open"
)
ADD_MESSAGE = (
    "INSERT INTO messages (user_id, message_id, body, context, workflow, state) "
    "VALUES ($1, $2, $3, $4, $5, 'accepted') ON CONFLICT DO NOTHING RETURNING n"
)
CANCEL = (
    "UPDATE messages SET state = 'cancelling' WHERE user_id = $1 AND message_id = $2 AND state = 'accepted' RETURNING n"
)
STATE = "SELECT state FROM messages WHERE user_id = $1 AND message_id = $2"
OPEN = (
    "SELECT user_id, message_id, body, context, workflow, state FROM messages "
    "WHERE state IN ('accepted', 'cancelling') ORDER BY n LIMIT 256"
)
RESULTS = "SELECT node, status, result FROM results WHERE run = $1 ORDER BY node"
ADD_RESULT = (
    "INSERT INTO results (run, node, status, result) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING node"
)
RESULT = "SELECT status, result FROM results WHERE run = $1 AND node = $2"
ADD_ACTION = "INSERT INTO actions (run, node, user_id) VALUES ($1, $2, $3)"
ANSWERED = "UPDATE messages SET state = 'answered' WHERE user_id = $1 AND message_id = $2 AND state = $3 RETURNING n"
NEXT_SEQ = "UPDATE users SET seq = seq + 1, open = open - 1 WHERE user_id = $1 RETURNING seq"
NEXT_SEQ_ONLY = "UPDATE users SET seq = seq + 1 WHERE user_id = $1 RETURNING seq"
ADD_REPLY = "INSERT INTO replies (user_id, seq, message_id, body) VALUES ($1, $2, $3, $4)"
REPLY = "SELECT body FROM replies WHERE user_id = $1 AND message_id = $2"
REPLIES = f"SELECT body FROM replies WHERE user_id = $1 AND seq > $2 ORDER BY seq LIMIT {REPLIES_MAX}"

UNIQUE_VIOLATION = "23505"
REFUSALS = ("22", "54")
"""Classes of SQLSTATE that say that a value cannot be stored: a data exception, a limit of the program."""

_workflow_decoder = msgspec.json.Decoder(dict[str, tuple[str, ...]])
_reply_decoder = msgspec.json.Decoder(Reply)


class LedgerUnavailableError(Exception):
    """The ledger did not do it, or nobody knows whether it did (`unknown`)."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.unknown = unknown


class LedgerRefusedError(LedgerUnavailableError):
    """PostgreSQL refuses to store this, and will every time."""


class OverloadedError(Exception):
    """The user has too many unanswered messages; nothing was stored."""


@attrs.frozen
class OpenMessage:
    """A message that was accepted and is not answered."""

    user: str
    id: str
    text: str
    context: str
    workflow: Mapping[str, tuple[str, ...]]
    is_cancelled: bool

    @property
    def run(self) -> str:
        """The name of the run that works on the message."""
        return run_of(self.user, self.id)


def run_of(user: str, message: str) -> str:
    """Return the name of the run of a user's message. No two messages have the same."""
    return f"{quote(user, safe='')}:{message}"


class Ledger:
    """The platform's vocabulary over one database, behind a breaker."""

    def __init__(self, database: Database, breaker: Breaker, config: PlatformConfig) -> None:
        self._database = database
        self._breaker = breaker
        self._config = config
        self._has_tables = False
        self._creating = trio.Lock()
        self._creation_failure: Exception | None = None

    async def accept(self, user: str, message: Message) -> bool:
        """Store a message, once however often it is sent; say whether it is new.

        Raises OverloadedError, and LedgerUnavailableError.
        """

        def script() -> Script[bool]:
            # First the message, then its user, as when it is answered: the other way round they would wait for each
            # other. And a message that is known has its place, and must not be told to be refused.
            if not (yield Statement(ADD_MESSAGE, (user, message.id, message.text, message.context, workflow))):
                raise _KnownError
            rows = yield Statement(COUNT_IN, (user,))
            if int(rows[0][0] or 0) > self._config.open_messages_max:
                raise OverloadedError(user)
            return True

        workflow = msgspec.json.encode(message.workflow).decode()
        try:
            return await self._transact(script)
        except _KnownError:
            return False
        except LedgerUnavailableError as error:
            if not (error.unknown and self._config.has("unconfirmed-stored-anew")):
                raise
            # The transaction is not tied to the message's id any more.
            return await self.accept(user, msgspec.structs.replace(message, id=f"{message.id}+"))

    async def cancel(self, user: str, message: str) -> bool:
        """Mark a message as to be given up; say whether it still can be."""

        def script() -> Script[bool]:
            marked = yield Statement(CANCEL, (user, message))
            if marked:
                return True
            state = yield Statement(STATE, (user, message))
            return bool(state) and state[0][0] == "cancelling"

        return await self._transact(script)

    async def open_messages(self) -> list[OpenMessage]:
        """Return what is accepted and not answered, oldest first."""
        return [_open_message(row) for row in await self._transact(_one(OPEN))]

    async def results(self, run: str) -> dict[str, NodeOutcome]:
        """Return what became of the nodes of a run so far."""
        rows = await self._transact(_one(RESULTS, run))
        return {str(node): NodeOutcome(str(status), str(result)) for node, status, result in rows}

    async def store_result(self, message: OpenMessage, node: str, outcome: NodeOutcome, *, acts: bool) -> NodeOutcome:
        """Store a node's result, and with `acts` its effect, both once. Return the result that is stored."""

        def script() -> Script[NodeOutcome]:
            if (yield Statement(ADD_RESULT, (message.run, node, outcome.status, outcome.result))):
                if acts:
                    yield add_action
                return outcome
            ((status, result),) = yield Statement(RESULT, (message.run, node))
            return NodeOutcome(str(status), str(result))

        add_action = Statement(ADD_ACTION, (message.run, node, message.user))
        if acts and self._config.has("effect-before-result"):
            await self._transact(_only(add_action))
            acts = False
        return await self._transact(script)

    async def answer(self, message: OpenMessage, reply: Reply) -> Reply | None:
        """Store the reply under the user's next number and return it; a message that has one already keeps that.

        None when a message that was to be answered is to be cancelled by now.
        """

        def script() -> Script[Reply | None]:
            state = "cancelling" if reply.status == "cancelled" else "accepted"
            if self._config.has("answered-twice"):
                state = "accepted"
                yield Statement(ANSWERED, (message.user, message.id, state))
            elif not (yield Statement(ANSWERED, (message.user, message.id, state))):
                known = yield Statement(REPLY, (message.user, message.id))
                return _reply_decoder.decode(str(known[0][0])) if known else None
            keeps_place = reply.status == "cancelled" and self._config.has("place-not-given-back")
            rows = yield Statement(NEXT_SEQ_ONLY if keeps_place else NEXT_SEQ, (message.user,))
            numbered = msgspec.structs.replace(reply, seq=rows[0][0])
            body = msgspec.json.encode(numbered).decode()
            yield Statement(ADD_REPLY, (message.user, numbered.seq, message.id, body))
            return numbered

        return await self._transact(script)

    async def replies_after(self, user: str, seq: int) -> list[Reply]:
        """Return a user's replies after that number, oldest first, REPLIES_MAX at most."""
        return [_reply_decoder.decode(str(body)) for (body,) in await self._transact(_one(REPLIES, user, seq))]

    async def probe_forever(self) -> NoReturn:
        """Ask the ledger for nothing whenever its breaker is not closed, until cancelled."""
        await self._breaker.probe_forever(lambda: self._transact(_one("SELECT 1")))

    async def _transact(self, script: Callable[[], Script[T]]) -> T:
        try:
            return await self._breaker.call(lambda: self._attempt(script), counts=_is_failure)
        except OutcomeUnknownError as error:
            raise LedgerUnavailableError(str(error), unknown=True) from error
        except DatabaseError as error:
            kind = LedgerRefusedError if error.sqlstate.startswith(REFUSALS) else LedgerUnavailableError
            raise kind(f"{type(error).__name__}: {error}") from error
        except (DatabaseUnavailableError, BreakerOpenError) as error:
            raise LedgerUnavailableError(f"{type(error).__name__}: {error}") from error

    async def _attempt(self, script: Callable[[], Script[T]]) -> T:
        """Run a transaction; one that lost against another is simply repeated."""
        if not self._has_tables:
            await self._create_tables()
        while True:
            try:
                return await self._database.transact(script)
            except ConflictError:
                await trio.sleep(self._config.retry_s)

    async def _create_tables(self) -> None:
        """Create them. Who waited for an attempt that PostgreSQL did not answer fails with it: nobody waits for two."""
        failure = self._creation_failure
        async with self._creating:
            if self._has_tables:
                return
            if self._creation_failure is not failure:
                raise DatabaseUnavailableError(str(self._creation_failure))
            try:
                await self._create_tables_now()
            except DatabaseUnavailableError as error:
                self._creation_failure = error
                raise
            self._has_tables = True

    async def _create_tables_now(self) -> None:
        try:
            await self._database.transact(_tables)
        except DatabaseError as error:
            if error.sqlstate != UNIQUE_VIOLATION:
                raise
            # Another process was creating them at this very moment: IF NOT EXISTS does not see that.
            await self._database.transact(_tables)


class _KnownError(Exception):
    """Rolls the transaction back, because the message is stored already."""


def _is_failure(error: Exception) -> bool:
    return isinstance(error, DatabaseUnavailableError) and not isinstance(error, DatabaseBusyError)


def _tables() -> Script[None]:
    for table in TABLES:
        yield Statement(table)


def _one(sql: str, *parameters: str | int) -> Callable[[], Script[Sequence[Row]]]:
    return _only(Statement(sql, parameters))


def _only(statement: Statement) -> Callable[[], Script[Sequence[Row]]]:
    def script() -> Script[Sequence[Row]]:
        return (yield statement)

    return script


def _open_message(row: Row) -> OpenMessage:
    user, message, text, context, workflow, state = (str(field) for field in row)
    return OpenMessage(user, message, text, context, _workflow_decoder.decode(workflow), state == "cancelling")
