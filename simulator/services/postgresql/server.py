"""A PostgreSQL server in the world: protocol 3 over Trio's sockets, in front of data that outlives a crash."""

import struct
from functools import partial

import trio

from simulator.services.answer import send_answer
from simulator.services.capacity import Capacity
from simulator.services.postgresql.database import Database
from simulator.services.postgresql.dialogue import Dialogue
from simulator.services.postgresql.errors import PostgreSQLError, refuse
from simulator.services.postgresql.messages import Inbox, Outbox
from simulator.services.postgresql.process import Process
from simulator.services.postgresql.session import ConnectionCutError, Session
from simulator.services.postgresql.troubles import Troubles
from simulator.services.postgresql.types import decode_text

__all__ = ["SimulatedPostgreSQL"]

NAME = "wavetank"
PROTOCOL = 3 << 16
CANCEL_REQUEST = (1234 << 16) + 5678
SSL_REQUEST = (1234 << 16) + 5679
GSS_REQUEST = (1234 << 16) + 5680
SECRET = 0x5EA5_1DE5
RECEIVE_BYTES = 65_536


class SimulatedPostgreSQL:
    """The machine that runs PostgreSQL, with its disk: this object outlives every crash of the process.

    Modelled on release 15 with the user and the database `wavetank`, trusted, UTF-8, the C collation, UTC. A commit
    takes effect, and is durable, at one instant before its answer: a crash keeps what is committed and nothing
    else. Identities go on after a crash behind the 32 numbers that are logged ahead.

    Statements take no time but for waits. Rows without ORDER BY come, and are locked, in the order in which their
    versions were written, as from a sequential scan of a table that was never vacuumed. A client that goes away is
    noticed when its request is done, as by the real server; a statement that waits for a lock goes on waiting.

    Not modelled: SQL beyond the allow-list of `parser` (answered 0A000), SERIALIZABLE, savepoints, cursors, COPY,
    binary results, LISTEN, schemas and catalogs, passwords and TLS, limits of connections and memory, a loss of
    power, keys too long for an index, the details of a deadlock, rows that come before an error, and of errors the
    hint, the position and the place in the server's source.
    """

    def __init__(self, *, port: int = 5432, host: str | None = None, capacity: Capacity | None = None) -> None:
        self._port = port
        self._host = host
        self._capacity = capacity if capacity is not None else Capacity()
        self._database = Database()
        self._troubles = Troubles()
        self._process: Process | None = None
        self._process_id = 0

    @property
    def port(self) -> int:
        """The port; if 0 was asked for, from the first start on the one that was free then."""
        return self._port

    async def main(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve what the disk holds until cancelled. `task_status` says when the server listens."""
        assert self._process is None, "this PostgreSQL is running already"
        listeners = await trio.open_tcp_listeners(self._port, host=self._host)
        self._port = listeners[0].socket.getsockname()[1]
        process = self._process = Process(self._database)
        try:
            task_status.started()
            await trio.serve_listeners(partial(self._serve, process), listeners)
        finally:
            if self._process is process:
                self._process = None

    def crash(self) -> None:
        """Take the process down at this instant: its tasks, still to be cancelled, change nothing any more."""
        process, self._process = self._process, None
        if process is not None:
            process.is_alive = False
            self._database.crash()

    def slow_commits(self, on: bool) -> None:
        """Let each commit take a second longer, before it takes effect."""
        self._troubles.slows_commits = on

    def lose_commits(self, on: bool) -> None:
        """Cut the connection instead of committing. The client cannot tell this from the next one."""
        self._troubles.loses_commits = on

    def lose_commit_answers(self, on: bool) -> None:
        """Commit, then cut the connection instead of answering."""
        self._troubles.loses_commit_answers = on

    def refuse_connections(self, on: bool) -> None:
        """Refuse new clients, as a server that has too many does (53300)."""
        self._troubles.refuses_connections = on

    def blocker(self, process_id: int) -> int | None:
        """Return the session that this one waits for, both by the ids of BackendKeyData; None if it does not wait."""
        session = None if self._process is None else self._process.sessions.get(process_id)
        return None if session is None else session.blocker

    async def _serve(self, process: Process, stream: trio.SocketStream) -> None:
        async with stream:
            connection = _Connection(process, self._troubles, self._capacity, stream)
            try:
                options = await connection.startup()
                if options is not None and process.is_alive:
                    self._process_id += 1
                    await connection.run(self._process_id, options)
            except (trio.BrokenResourceError, ConnectionCutError):
                return  # the client is gone, or the connection is to be cut
            except PostgreSQLError as error:
                await connection.end(error)


class _Connection:
    """One connection in one task: reads, executes, and sends the answers to a request at once."""

    def __init__(self, process: Process, troubles: Troubles, capacity: Capacity, stream: trio.SocketStream) -> None:
        self._process = process
        self._troubles = troubles
        self._capacity = capacity
        self._stream = stream
        self._inbox = Inbox()

    async def startup(self) -> dict[str, str] | None:
        """Return what the client asks for in the beginning; None when it goes away or only came to cancel."""
        while True:
            body = self._inbox.next_startup()
            if body is None:
                if not await self._receive():
                    return None
                continue
            (code,) = struct.unpack_from("!I", body.ljust(4, b"\0"))
            if code in (SSL_REQUEST, GSS_REQUEST):
                await send_answer(self._stream, b"N")
            elif code == CANCEL_REQUEST:
                self._cancel(body)
                return None
            elif code == PROTOCOL:
                return _options(body[4:])
            else:
                what = f"unsupported frontend protocol {code >> 16}.{code & 0xFFFF}: server supports 3.0 to 3.0"
                raise PostgreSQLError("0A000", what, severity="FATAL")

    async def run(self, process_id: int, options: dict[str, str]) -> None:
        """Serve until the client says goodbye, or is gone."""
        session = Session(self._process, self._troubles, process_id)
        await self._admit(options)
        for name, value in options.items():
            session.settings.set(name, value)
        session.settings.end_transaction(commits=True)
        dialogue = Dialogue(self._process, session)
        dialogue.out.trusted()
        dialogue.out.cancel_key(process_id, SECRET ^ process_id)
        dialogue.ready()
        self._process.sessions[process_id] = session
        try:
            await self._converse(dialogue)
        finally:
            del self._process.sessions[process_id]
            session.close()

    async def _converse(self, dialogue: Dialogue) -> None:
        while True:
            if dialogue.is_due:
                dialogue.is_due = False
                data, dialogue.out.data = dialogue.out.data, bytearray()
                await self._capacity.work()
                await send_answer(self._stream, data)
            message = self._inbox.next_message()
            if message is None:
                with trio.move_on_after(dialogue.idle_timeout_s) as waiting:
                    if not await self._receive():
                        return
                if waiting.cancelled_caught:
                    raise PostgreSQLError("25P03", "terminating connection due to idle-in-transaction timeout")
                continue
            if not self._process.is_alive:
                raise ConnectionCutError
            await dialogue.handle(*message)
            if dialogue.is_over:
                return

    async def end(self, error: PostgreSQLError) -> None:
        """Send a last word."""
        error.severity = "FATAL"
        out = Outbox()
        out.error(error)
        try:
            await send_answer(self._stream, out.data)
        except trio.BrokenResourceError:
            return  # the client did not wait for it

    async def _admit(self, options: dict[str, str]) -> None:
        """Take the user and the database out of the options. Raises what the server refuses a client with."""
        user = options.pop("user", "")
        database = options.pop("database", user)
        if not user:
            raise PostgreSQLError("28000", "no PostgreSQL user name specified in startup packet")
        if self._troubles.refuses_connections:
            raise PostgreSQLError("53300", "sorry, too many clients already")
        if not user == database == NAME:
            # Whom it trusts is asked first, who that is only then.
            out = Outbox()
            out.trusted()
            await send_answer(self._stream, out.data)
        if user != NAME:
            raise PostgreSQLError("28000", f'role "{user}" does not exist')
        if database != NAME:
            raise PostgreSQLError("3D000", f'database "{database}" does not exist')

    def _cancel(self, body: bytes) -> None:
        process_id, secret = struct.unpack_from("!II", body.ljust(12, b"\0"), 4)
        session = self._process.sessions.get(process_id)
        if session is not None and secret == SECRET ^ process_id and self._process.is_alive:
            session.cancel()

    async def _receive(self) -> bool:
        data = await self._stream.receive_some(RECEIVE_BYTES)
        self._inbox.feed(data)
        return bool(data)


def _options(body: bytes) -> dict[str, str]:
    """Return the pairs of a startup message, with those that `options` holds as command-line words (-c name=value)."""
    words = [decode_text(word) for word in body.split(b"\0")]
    found = dict(zip(words[::2], words[1::2], strict=False))
    found.pop("", None)
    line = found.pop("options", "").split()
    while line:
        name, equals, value = line[1].partition("=") if line[0] == "-c" and len(line) > 1 else ("", "", "")
        if not equals:
            refuse(f"the startup option {line[0]}")
        found[name] = value
        line = line[2:]
    return found
