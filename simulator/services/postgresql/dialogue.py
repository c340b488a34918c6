"""The conversation with one client after its startup: simple queries, and the extended protocol's steps.

Not modelled: binary results, COPY, function calls, notifications. Rows are all made at the first Execute, so a
portal that is read in parts reads what was there at the start, as a real one does by its snapshot.
"""

import attrs

from simulator.services.postgresql import statement as sql
from simulator.services.postgresql.errors import PostgreSQLError, refuse
from simulator.services.postgresql.messages import Body, Outbox
from simulator.services.postgresql.parser import parse
from simulator.services.postgresql.plan import Prepared, plan
from simulator.services.postgresql.process import Process
from simulator.services.postgresql.result import Result
from simulator.services.postgresql.session import ConnectionCutError, Session
from simulator.services.postgresql.settings import REPORTED
from simulator.services.postgresql.types import TEXT, ColumnType, Value, decode_text
from simulator.services.postgresql.versions import Values

__all__ = ["Dialogue"]

PLANS_MAX = 1024  # of a client that writes its values into the text


@attrs.define(eq=False)
class _Portal:
    prepared: Prepared
    parameters: Values
    result: Result | None = None
    sent: int = 0


class Dialogue:
    """Answers gather in `out`; they are to be sent when `is_due`. `is_over` tells that the client said goodbye."""

    def __init__(self, process: Process, session: Session) -> None:
        self.out = Outbox()
        self.is_due = False
        self.is_over = False
        self._process = process
        self._session = session
        self._statements: dict[str, Prepared] = {}
        self._portals: dict[str, _Portal] = {}
        self._is_skipping = False
        self._reported: dict[str, str] = {}
        self._reported_at = -1

    @property
    def idle_timeout_s(self) -> float:
        """How long the client may be silent now before its connection is ended."""
        return self._session.settings.idle_timeout_s if self._session.in_block else float("inf")

    def ready(self) -> None:
        """Tell the client to go on, after the settings that are news to it."""
        settings = self._session.settings
        if self._reported_at != settings.changes:
            self._reported_at = settings.changes
            for name in REPORTED:
                value = settings.show(name)
                if self._reported.get(name) != value:
                    self._reported[name] = value
                    self.out.parameter_status(name, value)
        self.out.ready(self._session.status)
        self.is_due = True

    async def handle(self, kind: bytes, body: Body) -> None:
        """Do what one message asks for. Raises ConnectionCutError, or a FATAL PostgreSQLError."""
        if self._is_skipping and kind not in (b"S", b"X"):
            return
        try:
            match kind:
                case b"P":
                    await self._parse(body)
                case b"B":
                    await self._bind(body)
                case b"D":
                    self._describe(body)
                case b"E":
                    await self._execute(body)
                case b"S":
                    await self._sync(body)
                case b"Q":
                    await self._query(body)
                case b"C":
                    self._close(body)
                case b"H":
                    body.end()
                    self.is_due = True
                case b"X":
                    self.is_over = True
                case _:
                    self._unknown(kind)
        except PostgreSQLError as error:
            if error.severity == "FATAL":
                raise
            self._fail(error)
            self._is_skipping = kind not in (b"Q", b"S")
            if not self._is_skipping:
                self.ready()
        except ConnectionCutError:
            raise
        except Exception as error:
            error.add_note(f"The simulated PostgreSQL failed at the message {kind!r} {body!r}.")
            raise

    def _unknown(self, kind: bytes) -> None:
        if kind in (b"F", b"d", b"c", b"f"):
            refuse(f"the message {kind.decode()!r}")
        raise PostgreSQLError("08P01", f"invalid frontend message type {kind[0]}", severity="FATAL")

    def _fail(self, error: PostgreSQLError) -> None:
        self._session.fail()
        self._portals.clear()
        for notice in error.notices:
            self.out.notice(notice)
        self.out.error(error)

    # Simple queries

    async def _query(self, body: Body) -> None:
        text = body.text()
        body.end()
        statements = parse(text)
        self._forget_unnamed()
        if not statements:
            self.out.add(b"I")
        for number, statement in enumerate(statements):
            self._session.check_not_failed(statement)
            prepared = await self._held(statement, (), (text, number))
            prepared.fold(())
            if prepared.fields is not None:
                self.out.row_description(prepared.fields)
            if isinstance(statement, sql.Deallocate):
                result = self._deallocate(statement)
            else:
                result = await self._session.execute(prepared, (), is_alone=len(statements) == 1)
            self._send(result)
        await self._end_request()
        self.ready()

    def _forget_unnamed(self) -> None:
        self._statements.pop("", None)
        self._portals.pop("", None)

    async def _held(self, statement: sql.Statement | None, oids: tuple[int, ...], source: tuple[str, int]) -> Prepared:
        prepared = self._planned(statement, oids, source)
        return self._planned(statement, oids, source) if await self._session.hold(prepared) else prepared

    def _planned(self, statement: sql.Statement | None, oids: tuple[int, ...], source: tuple[str, int]) -> Prepared:
        """Analyse a statement, unless it was already, for tables that are still the same."""
        transaction = self._session.transaction
        database = self._process.database
        known = self._process.plans.get((source, oids))
        if known is not None:
            table = None if known.plan is None else known.plan.table
            if table is None or database.find(table.name, transaction) is table:
                return known
        if len(self._process.plans) >= PLANS_MAX:
            self._process.plans.clear()
        made = self._process.plans[source, oids] = plan(statement, oids, database, transaction)
        return made

    def _deallocate(self, statement: sql.Deallocate) -> Result:
        self._session.check_not_failed(statement)
        if statement.name is None:
            self._statements.clear()
            return Result("DEALLOCATE ALL")
        if self._statements.pop(statement.name, None) is None:
            raise _no_statement(statement.name)
        return Result("DEALLOCATE")

    def _send(self, result: Result) -> None:
        for notice in result.notices:
            self.out.notice(notice)
        if result.rows is not None:
            self.out.rows(result.rows)
        self.out.complete(result.tag)

    async def _end_request(self) -> None:
        await self._session.end_implicit()
        if self._session.transaction is None:
            self._portals.clear()

    # The extended protocol

    async def _parse(self, body: Body) -> None:
        name, text, oids = body.text(), body.text(), body.oids()
        body.end()
        statements = parse(text)
        if len(statements) > 1:
            raise PostgreSQLError("42601", "cannot insert multiple commands into a prepared statement")
        statement = statements[0] if statements else None
        self._session.check_not_failed(statement)
        if name and name in self._statements:
            raise PostgreSQLError("42P05", f'prepared statement "{name}" already exists')
        self._statements.pop(name, None)
        self._statements[name] = await self._held(statement, oids, (text, 0))
        self.out.add(b"1")

    async def _bind(self, body: Body) -> None:
        portal, name = body.text(), body.text()
        prepared = self._statement(name)
        formats = body.counts()
        values = [body.value() for _ in range(body.count())]
        result_formats = body.counts()
        if any(result_formats):
            refuse("results in binary format")
        if len(formats) not in (0, 1, len(values)):
            what = f"bind message has {len(formats)} parameter formats but {len(values)} parameters"
            raise PostgreSQLError("08P01", what)
        if len(values) != len(prepared.types):
            what = f"bind message supplies {len(values)} parameters"
            what += f', but prepared statement "{name}" requires {len(prepared.types)}'
            raise PostgreSQLError("08P01", what)
        self._session.check_not_failed(prepared.statement, is_empty_allowed=False)
        if portal and portal in self._portals:
            raise PostgreSQLError("42P03", f'cursor "{portal}" already exists')
        if len(formats) < 2:
            formats = [*formats, 0][:1] * len(values)
        parameters = [_decoded(*each) for each in zip(values, formats, prepared.types, strict=True)]
        body.end()
        await self._session.hold(prepared)
        prepared.fold(parameters)
        if prepared.fields is not None and len(result_formats) not in (0, 1, len(prepared.fields)):
            what = f"bind message has {len(result_formats)} result formats but query has {len(prepared.fields)} columns"
            raise PostgreSQLError("08P01", what)
        self._portals[portal] = _Portal(prepared, parameters)
        self.out.add(b"2")

    def _describe(self, body: Body) -> None:
        kind, name = _kind_and_name(body, "DESCRIBE")
        prepared = self._statement(name) if kind == b"S" else self._portal(name).prepared
        if prepared.fields is not None:
            self._session.check_not_failed(prepared.statement)
        if kind == b"S":
            self.out.parameter_description(prepared.types)
        if prepared.fields is None:
            self.out.add(b"n")
        else:
            self.out.row_description(prepared.fields)

    async def _execute(self, body: Body) -> None:
        name, rows_max = body.text(), body.size()
        body.end()
        portal = self._portal(name)
        statement = portal.prepared.statement
        if statement is None:
            self.out.add(b"I")
            return
        if rows_max > 0 and isinstance(statement, sql.Select) and statement.locking is not sql.Locking.NONE:
            refuse("FOR UPDATE read in parts: the rest is not locked yet")
        is_fresh = portal.result is None
        if portal.result is None:
            if isinstance(statement, sql.Deallocate):
                portal.result = self._deallocate(statement)
            else:
                portal.result = await self._session.execute(portal.prepared, portal.parameters)
            if self._session.transaction is None:
                self._portals.clear()
        elif portal.result.rows is None:
            raise PostgreSQLError("55000", f'portal "{name}" cannot be run')
        self._send_part(portal, rows_max, is_fresh=is_fresh)

    def _send_part(self, portal: _Portal, rows_max: int, *, is_fresh: bool) -> None:
        result = portal.result
        assert result is not None
        rows = result.rows
        if rows is None or (is_fresh and rows_max <= 0):
            portal.sent = len(rows or ())
            self._send(result)
            return
        part = rows[portal.sent :] if rows_max <= 0 else rows[portal.sent : portal.sent + rows_max]
        portal.sent += len(part)
        for notice in result.notices if is_fresh else ():
            self.out.notice(notice)
        self.out.rows(part)
        if rows_max > 0 and len(part) == rows_max:
            self.out.add(b"s")
        else:
            self.out.complete(_recounted(result.tag, len(part)))

    async def _sync(self, body: Body) -> None:
        self._is_skipping = False
        body.end()
        await self._end_request()
        self.ready()

    def _close(self, body: Body) -> None:
        kind, name = _kind_and_name(body, "CLOSE")
        (self._statements if kind == b"S" else self._portals).pop(name, None)
        self.out.add(b"3")

    def _statement(self, name: str) -> Prepared:
        if name not in self._statements:
            raise _no_statement(name)
        return self._statements[name]

    def _portal(self, name: str) -> _Portal:
        if name not in self._portals:
            raise PostgreSQLError("34000", f'portal "{name}" does not exist')
        return self._portals[name]


def _kind_and_name(body: Body, message: str) -> tuple[bytes, str]:
    """Take what a message is about: a prepared statement (S) or a portal (P)."""
    kind, name = body.kind(), body.text()
    body.end()
    if kind not in (b"S", b"P"):
        raise PostgreSQLError("08P01", f"invalid {message} message subtype {kind[0]}")
    return kind, name


def _recounted(tag: str, rows: int) -> str:
    """Return the tag of a portal's last part, which tells how many rows that had."""
    words, _, number = tag.rpartition(" ")
    return f"{words} {rows}" if number.isdigit() else tag


def _no_statement(name: str) -> PostgreSQLError:
    if not name:
        return PostgreSQLError("26000", "unnamed prepared statement does not exist")
    return PostgreSQLError("26000", f'prepared statement "{name}" does not exist')


def _decoded(data: bytes | None, form: int, kind: ColumnType) -> Value:
    if data is None:
        return None
    if form > 1:
        raise PostgreSQLError("22023", f"unsupported format code: {form}")
    if form == 1:
        return kind.read_binary(data)
    text = decode_text(data)
    return text if kind is TEXT else kind.read(text)
