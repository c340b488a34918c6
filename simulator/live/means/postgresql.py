"""Admin statements to a PostgreSQL: end the connections of a role."""

from typing import Any, LiteralString

import psycopg

from simulator.errors import EnvironmentFailedError
from simulator.live.deed import Deed, Means
from simulator.live.target import ByPostgreSQL, Target

__all__ = ["PostgreSQL"]

ANSWERS_WITHIN_S = 5
KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND pid <> pg_backend_pid()"


class PostgreSQL(Means):
    """A PostgreSQL that takes our statements."""

    def __init__(self, described: ByPostgreSQL, target: Target) -> None:
        self._described = described
        self._target = target

    def why_not(self, deed: Deed) -> str | None:
        """Connections are those of one role, so that a link is as good as another."""
        return None if deed.action == "reset" and deed.at[1:] == (self._described.host,) else ""

    def do(self, deed: Deed) -> None:
        """End every connection of the role."""
        self._execute(KILL, self._described.kills)

    def probe(self) -> str:
        """Ask for its release."""
        return f"a PostgreSQL {self._execute('SHOW server_version')}"

    def _execute(self, statement: LiteralString, *arguments: str) -> object:
        described, host = self._described, self._target.hosts[self._described.host]
        name, port = self._target.address(described.host)
        options: dict[str, Any] = {}
        if described.password is not None:
            options["password"] = described.password.read()
        if host.tls is not None:
            options |= {"sslmode": "verify-full", "sslrootcert": str(host.tls.ca or "system")}
        try:
            with psycopg.connect(
                host=name,
                port=port,
                user=described.user,
                dbname=described.database,
                connect_timeout=ANSWERS_WITHIN_S,
                options=f"-c statement_timeout={ANSWERS_WITHIN_S}s",
                autocommit=True,
                **options,
            ) as connection:
                row = connection.execute(statement, arguments).fetchone()
                return row[0] if row else None
        except psycopg.Error as error:
            raise EnvironmentFailedError(f"postgresql at {described.host} did not do {statement!r}: {error}") from error
