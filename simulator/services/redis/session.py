"""One client of the simulated Redis: its requests executed one by one, without input or output.

`networking.c`, `server.c` (processCommand), `multi.c` and `pubsub.c` of Redis 7.0 are the source of what comes in
which order.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from fakeredis._helpers import compile_pattern

from simulator.services.redis.blocking import SYNTAX_ERROR, Answer, Wait, blmove, blpop, brpop, read_streams
from simulator.services.redis.commands import Command, find_command
from simulator.services.redis.corrections import run_command
from simulator.services.redis.keyspace import DATABASES, Key
from simulator.services.redis.numbers import UNMODELLED_NUMBER, has_unmodelled_number
from simulator.services.redis.process import Client, Process, Waiter
from simulator.services.redis.resp import NULL_ARRAY, Failure, Push, Reply, Status, read_integer, write_reply

__all__ = ["Session"]

OK = Status(b"OK")
INT_MIN, INT_MAX = -(2**31), 2**31 - 1
VERSION = b"7.0.15"
_NOT_AN_INTEGER = Failure("ERR value is not an integer or out of range")
_ALLOWED_WHILE_LISTENING = ("PING", "QUIT", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE")

Words = Sequence[bytes]
_K = TypeVar("_K")


class Session(Client):
    """The state of one connection. What is to be sent gathers in `out`; `wake` tells that it grew meanwhile."""

    def __init__(self, process: Process, wake: Callable[[], None]) -> None:
        self.out = bytearray()
        self.closing = False
        self.waiter: Waiter | None = None
        self._process = process
        self._wake = wake
        self._id = process.next_client_id()
        self._protocol = 2
        self._database = 0
        self._name = b""
        self._queue: list[tuple[Command, Words]] | None = None
        self._queue_spoilt = False
        self._watched: dict[Key, bool] = {}  # and whether the key existed then
        self._watched_changed = False
        self._channels: dict[bytes, None] = {}
        self._patterns: dict[bytes, None] = {}

    @property
    def listening(self) -> bool:
        """Whether messages can arrive that the client did not ask for."""
        return bool(self._channels or self._patterns)

    def execute(self, request: list[bytes]) -> None:
        """Execute one request, or queue or refuse it. Afterwards the client may be waiting."""
        command = find_command(request)
        if isinstance(command, Failure):
            self._refuse(request[0].upper() == b"EXEC", command)
            return
        if self._protocol == 2 and self.listening and command.name not in _ALLOWED_WHILE_LISTENING:
            allowed = "(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
            what = f"Can't execute '{command.name.lower()}': only {allowed} are allowed in this context"
            self._refuse(command.name == "EXEC", Failure("ERR " + what))
            return
        arguments = request[2:] if "|" in command.name else request[1:]
        immediate = _IMMEDIATE.get(command.name)
        if immediate is None and self._queue is not None:
            self._queue.append((command, arguments))
            self._write(Status(b"QUEUED"))
            return
        self._process.keyspace.read_clock()
        if immediate is not None:
            immediate(self, arguments)
        else:
            self._execute_now(command, arguments)
        self._process.serve_waiters()

    def _execute_now(self, command: Command, arguments: Words) -> None:
        if command.writes:
            self._process.before_write()
        reply = self._run(command, arguments)
        if isinstance(reply, Wait):
            self.waiter = Waiter(self, self._database, self._protocol, reply)
            self._process.begin_waiting(self.waiter)
        else:
            self._write(reply)

    def _run(self, command: Command, arguments: Words) -> Answer:
        keyspace = self._process.keyspace
        keyspace.select_database(self._database, protocol=self._protocol)
        if has_unmodelled_number(command.name, arguments):
            return UNMODELLED_NUMBER
        match command.name:
            case "BLPOP":
                return blpop(keyspace, arguments)
            case "BRPOP":
                return brpop(keyspace, arguments)
            case "BLMOVE":
                return blmove(keyspace, arguments)
            case "XREAD" | "XREADGROUP":
                return read_streams(keyspace, arguments, name=command.name)
        own = _OWN.get(command.name)
        return run_command(keyspace, command.name, arguments) if own is None else own(self, arguments)

    def _write(self, reply: Reply) -> None:
        write_reply(self.out, reply, self._protocol)

    def fail(self, text: str) -> None:
        """Answer an error and close, as for bytes that are no request."""
        self._write(Failure(text))
        self.closing = True

    def tell(self, reply: Reply) -> None:
        """Queue the reply the client waits for, or a message."""
        if not isinstance(reply, Push):
            self.waiter = None
        self._write(reply)
        self._wake()

    def key_changed(self) -> None:
        """Note that a watched key was changed."""
        self._watched_changed = True

    def end_wait(self) -> None:
        """Answer a wait that lasted too long."""
        assert self.waiter is not None
        self._process.end_waiting(self.waiter)
        self.waiter = None
        self._write(NULL_ARRAY)

    def close(self) -> None:
        """Forget the client: it waits, watches and listens no more."""
        if self.waiter is not None:
            self._process.end_waiting(self.waiter)
            self.waiter = None
        self._unwatch()
        for name in self._channels:
            _leave(self._process.channels, name, self)
        for name in self._patterns:
            _leave(self._process.patterns, name, self)

    # Transactions

    def _refuse(self, is_exec: bool, failure: Failure) -> None:
        if is_exec:
            failure = Failure(f"EXECABORT Transaction discarded because of: {failure.text.removeprefix('ERR ')}")
            self._forget_queue()
        self._queue_spoilt = self._queue is not None
        self._write(failure)

    def _forget_queue(self) -> None:
        self._queue = None
        self._queue_spoilt = False
        self._unwatch()

    def _multi(self, arguments: Words) -> None:
        if self._queue is not None:
            self._write(Failure("ERR MULTI calls can not be nested"))
            return
        self._queue = []
        self._write(OK)

    def _discard(self, arguments: Words) -> None:
        if self._queue is None:
            self._write(Failure("ERR DISCARD without MULTI"))
            return
        self._forget_queue()
        self._write(OK)

    def _exec(self, arguments: Words) -> None:
        if self._queue is None:
            self._write(Failure("ERR EXEC without MULTI"))
            return
        queue, spoilt, lost = self._queue, self._queue_spoilt, self._watch_lost()
        self._forget_queue()
        if spoilt:
            self._write(Failure("EXECABORT Transaction discarded because of previous errors."))
        elif lost:
            self._write(NULL_ARRAY)
        else:
            self._process.before_write()
            replies = (self._run(command, arguments) for command, arguments in queue)
            self._write([reply.in_transaction if isinstance(reply, Wait) else reply for reply in replies])

    def _watch(self, arguments: Words) -> None:
        if self._queue is not None:
            self._write(Failure("ERR WATCH inside MULTI is not allowed"))
            return
        for name in arguments:
            key = (self._database, name)
            self._watched.setdefault(key, self._process.keyspace.holds(key))
            self._process.watchers.setdefault(key, {})[self] = None
        self._write(OK)

    def _watch_lost(self) -> bool:
        """Say whether a watched key was changed, or has expired, which nobody reported."""
        expired = (existed and not self._process.keyspace.holds(key) for key, existed in self._watched.items())
        return self._watched_changed or any(expired)

    def _unwatch(self) -> None:
        for key in self._watched:
            _leave(self._process.watchers, key, self)
        self._watched.clear()
        self._watched_changed = False

    def _unwatch_command(self, arguments: Words) -> Reply:
        self._unwatch()
        return OK

    # Publish and subscribe

    def _publish(self, arguments: Words) -> Reply:
        channel, message = arguments
        return self._process.publish(channel, message, lambda pattern, name: bool(compile_pattern(pattern).match(name)))

    def _subscribe(self, arguments: Words) -> None:
        self._join(b"subscribe", self._channels, self._process.channels, arguments)

    def _psubscribe(self, arguments: Words) -> None:
        self._join(b"psubscribe", self._patterns, self._process.patterns, arguments)

    def _unsubscribe(self, arguments: Words) -> None:
        self._part(b"unsubscribe", self._channels, self._process.channels, arguments)

    def _punsubscribe(self, arguments: Words) -> None:
        self._part(b"punsubscribe", self._patterns, self._process.patterns, arguments)

    def _join(self, kind: bytes, mine: dict[bytes, None], all_: dict[bytes, dict[Client, None]], names: Words) -> None:
        if self._refused_in_transaction(kind):
            return
        for name in names:
            mine[name] = None
            all_.setdefault(name, {})[self] = None
            self._confirm(kind, name)

    def _part(self, kind: bytes, mine: dict[bytes, None], all_: dict[bytes, dict[Client, None]], names: Words) -> None:
        if self._refused_in_transaction(kind):
            return
        names = names or list(mine)
        for name in names:
            if name in mine:
                del mine[name]
                _leave(all_, name, self)
            self._confirm(kind, name)
        if not names:
            self._confirm(kind, None)

    def _confirm(self, kind: bytes, name: bytes | None) -> None:
        self._write(Push([kind, name, len(self._channels) + len(self._patterns)]))

    def _refused_in_transaction(self, kind: bytes) -> bool:
        if self._queue is None:
            return False
        self._refuse(
            False, Failure(f"ERR wavetank: the simulated Redis does not model {kind.decode().upper()} within MULTI")
        )
        return True

    # The connection

    def _quit(self, arguments: Words) -> None:
        self._write(OK)
        self.closing = True

    def _ping(self, arguments: Words) -> Reply:
        if len(arguments) > 1:
            return Failure("ERR wrong number of arguments for 'ping' command")
        if self._protocol == 2 and self.listening:
            return [b"pong", arguments[0] if arguments else b""]
        return arguments[0] if arguments else Status(b"PONG")

    def _echo(self, arguments: Words) -> Reply:
        return arguments[0]

    def _select(self, arguments: Words) -> Reply:
        index = read_integer(arguments[0])
        if index is None:
            return _NOT_AN_INTEGER
        if not INT_MIN <= index <= INT_MAX:
            return Failure(f"ERR value is out of range, value must between {INT_MIN} and {INT_MAX}")
        if not 0 <= index < DATABASES:
            return Failure("ERR DB index is out of range")
        self._database = index
        return OK

    def _auth(self, arguments: Words) -> Reply:
        if len(arguments) == 1:
            return Failure(
                "ERR AUTH <password> called without any password configured for the default user. "
                "Are you sure your configuration is correct?"
            )
        return SYNTAX_ERROR if len(arguments) > 2 else _authenticate(arguments[0])

    def _hello(self, arguments: Words) -> Reply:
        protocol, name = self._protocol, None
        if arguments:
            wanted = read_integer(arguments[0])
            if wanted is None:
                return Failure("ERR Protocol version is not an integer or out of range")
            if wanted not in (2, 3):
                return Failure("NOPROTO unsupported protocol version")
            protocol = wanted
        words = list(arguments[1:])
        while words:
            option = words.pop(0)
            if option.upper() == b"AUTH" and len(words) >= 2:
                user, _ = words.pop(0), words.pop(0)
                answer = _authenticate(user)
                if isinstance(answer, Failure):
                    return answer
            elif option.upper() == b"SETNAME" and words:
                name = words.pop(0)
                if not _is_client_name(name):
                    return _BAD_CLIENT_NAME
            else:
                return Failure(f"ERR Syntax error in HELLO option '{option.decode('utf-8', 'surrogateescape')}'")
        self._protocol = protocol
        self._name = self._name if name is None else name
        return self._introduction()

    def _introduction(self) -> Reply:
        return {
            b"server": b"redis",
            b"version": VERSION,
            b"proto": self._protocol,
            b"id": self._id,
            b"mode": b"standalone",
            b"role": b"master",
            b"modules": [],
        }

    def _set_name(self, arguments: Words) -> Reply:
        if not _is_client_name(arguments[0]):
            return _BAD_CLIENT_NAME
        self._name = arguments[0]
        return OK

    def _get_name(self, arguments: Words) -> Reply:
        return self._name or None

    def _get_id(self, arguments: Words) -> Reply:
        return self._id

    def _no_evict(self, arguments: Words) -> Reply:
        return OK if arguments[0].upper() in (b"ON", b"OFF") else SYNTAX_ERROR


_BAD_CLIENT_NAME = Failure("ERR Client names cannot contain spaces, newlines or special characters.")


def _is_client_name(name: bytes) -> bool:
    return all(ord("!") <= character <= ord("~") for character in name)


def _authenticate(user: bytes) -> Reply:
    """Accept the default user, who needs no password; there is no other."""
    return OK if user == b"default" else Failure("WRONGPASS invalid username-password pair or user is disabled.")


def _leave(groups: dict[_K, dict[Client, None]], name: _K, client: Client) -> None:
    """Take a client out of one group, and the group away when it was the last."""
    clients = groups.get(name, {})
    clients.pop(client, None)
    if not clients:
        groups.pop(name, None)


# Never queued: these end, guard or forbid a transaction, or answer with pushes instead of a reply.
_IMMEDIATE: Mapping[str, Callable[[Session, Words], None]] = {
    "MULTI": Session._multi,
    "EXEC": Session._exec,
    "DISCARD": Session._discard,
    "WATCH": Session._watch,
    "QUIT": Session._quit,
    "SUBSCRIBE": Session._subscribe,
    "UNSUBSCRIBE": Session._unsubscribe,
    "PSUBSCRIBE": Session._psubscribe,
    "PUNSUBSCRIBE": Session._punsubscribe,
}
_OWN: Mapping[str, Callable[[Session, Words], Reply]] = {
    "UNWATCH": Session._unwatch_command,
    "PUBLISH": Session._publish,
    "PING": Session._ping,
    "ECHO": Session._echo,
    "SELECT": Session._select,
    "AUTH": Session._auth,
    "HELLO": Session._hello,
    "CLIENT|SETNAME": Session._set_name,
    "CLIENT|GETNAME": Session._get_name,
    "CLIENT|ID": Session._get_id,
    "CLIENT|NO-EVICT": Session._no_evict,
}
