"""A real PostgreSQL server as a child process: its own data directory, loopback only, nothing of the machine's."""

import os
import pwd
import shutil
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from simulator.errors import EnvironmentFailedError
from simulator.live.process import ServerProcess

__all__ = ["PostgreSQLServer"]

ANSWER_WITHIN_S = 1.0
PROTOCOL = 3 << 16
READY = b"Z\0\0\0\5I"
DEBIAN = Path("/usr/lib/postgresql")

# Messages and collation are those of C, which initdb writes into the configuration. Nothing but connections makes the
# server start processes or write of its own accord, apart from checkpoints.
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    # In its directory; POSIX shared memory of a killed server would stay behind.
    "dynamic_shared_memory_type": "mmap",
    # The server's own crash is survived by the page cache; only the machine's would need the disk.
    "fsync": "off",
    "synchronous_commit": "on",
    "autovacuum": "off",
    "max_logical_replication_workers": "0",
    "max_parallel_workers": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
}


class PostgreSQLServer(ServerProcess):
    """One PostgreSQL on 127.0.0.1; database and superuser `wavetank`, trusted. The simulation is held to release 15.

    A commit that was acknowledged survives `kill`. What a loss of power would take is not reproduced. When we are
    root, which PostgreSQL refuses to be, it runs as the user `postgres`.
    """

    name = "postgresql"
    user = "wavetank"
    database = "wavetank"
    # A killed PostgreSQL leaves a segment of shared memory, by which the next one on its data sees what is left of it.
    sweep = 'ipcrm -m "$(sed -n "7s/.* //p" "$0/data/postmaster.pid")"'

    def command(self) -> Sequence[str]:
        """Make the data directory if there is none yet, and return the server's command line."""
        data = self.directory / "data"
        if not data.exists():
            self._initialise(data)
        options = {"port": str(self.port), **OPTIONS}
        words = [f"--{name}={value}" for name, value in options.items()]
        return [*_as_owner(), _program("postgres"), "-D", str(data), *words]

    def environment(self) -> Mapping[str, str]:
        """Return our environment without what PostgreSQL would take for options."""
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

    def is_ready(self) -> bool:
        """Say whether a session of ours gets as far as to be asked for its first statement."""
        words = ("user", self.user, "database", self.database, "")
        startup = struct.pack(">I", PROTOCOL) + b"".join(f"{word}\0".encode() for word in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_WITHIN_S) as connection:
            connection.sendall(struct.pack(">I", len(startup) + 4) + startup)
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
                if answer.endswith(READY):
                    return True
        return False

    def _initialise(self, data: Path) -> None:
        initdb, postgres = _program("initdb"), _program("postgres")
        if os.geteuid() == 0:
            shutil.chown(self.directory, *_owner())
        # Under its name only when it is whole.
        fresh = self.directory / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run([initdb, "-D", str(fresh), "-U", self.user, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
        self._run([postgres, "--single", "-F", "-D", str(fresh), "postgres"], f"CREATE DATABASE {self.database}\n")
        fresh.rename(data)

    def _run(self, command: Sequence[str], input: str = "") -> None:
        done = subprocess.run(
            [*_as_owner(), *command],
            input=input,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=self.directory,
            env=self.environment(),
        )
        if done.returncode != 0:
            raise EnvironmentFailedError(
                f"{self.name} could not be set up: {command[0]} ended with status={done.returncode}. "
                f"Its words:\n{done.stdout}"
            )


def _as_owner() -> Sequence[str]:
    """Return the words that run a command as a user whom PostgreSQL accepts."""
    if os.geteuid() != 0:
        return ()
    user, group = _owner()
    return ("setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--")


def _owner() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError as error:
        raise _not_installed("there is no user postgres") from error
    return entry.pw_uid, entry.pw_gid


def _program(name: str) -> str:
    """Find a program on PATH or where Debian keeps each release's, the latest release first."""
    releases = sorted(DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    places = [os.environ.get("PATH", os.defpath), *map(str, releases)]
    if path := shutil.which(name, path=os.pathsep.join(places)):
        return path
    raise _not_installed(f"{name} is neither on PATH nor under {DEBIAN}")


def _not_installed(what: str) -> EnvironmentFailedError:
    return EnvironmentFailedError(
        f"postgresql could not be started: {what}. Install it with scripts/services, then try again."
    )
