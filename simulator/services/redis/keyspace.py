"""The keys of one Redis process: fakeredis keeps and changes them, this module says what time it is and who is told.

fakeredis is used for its data types and its data commands only. Its connections, transactions, subscriptions and
blocking are not: they rest on threads, weak sets and queues, and their order is not a function of the run.
"""

import copy
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop
from typing import Any

from fakeredis import FakeServer
from fakeredis._commands import SUPPORTED_COMMANDS
from fakeredis._core import CommandItem, Database
from fakeredis._core._database import Item
from fakeredis._helpers import SimpleError, SimpleString
from fakeredis._msgs import FLAG_LEAVE_EMPTY_VAL
from fakeredis.commands_mixins._mixin_base import CommandsMixinBase
from fakeredis.commands_mixins.generic_mixin import GenericCommandsMixin
from fakeredis.commands_mixins.hash_mixin import HashCommandsMixin
from fakeredis.commands_mixins.list_mixin import ListCommandsMixin
from fakeredis.commands_mixins.server_mixin import ServerCommandsMixin
from fakeredis.commands_mixins.set_mixin import SetCommandsMixin
from fakeredis.commands_mixins.sortedset_mixin import SortedSetCommandsMixin
from fakeredis.commands_mixins.streams_mixin import StreamsCommandsMixin
from fakeredis.commands_mixins.string_mixin import StringCommandsMixin
from fakeredis.model import ClientInfo

from simulator.services.redis.resp import Failure, Reply, Status

__all__ = ["DATABASES", "Contents", "Keyspace", "KeyspaceDatabase"]

DATABASES = 16

Contents = dict[int, dict[bytes, Item]]
"""Items by key by database index: all that a process hands to the next one."""

Key = tuple[int, bytes]


class KeyspaceDatabase(Database):
    """One numbered database: reports every changed key, and expires keys on Redis's clock of whole milliseconds."""

    def __init__(self, report: Callable[[bytes], None]) -> None:
        super().__init__(None)
        self._report = report

    @property
    def now_ms(self) -> int:
        """The time of the running command, in ms since the epoch."""
        return round(self.time * 1000)

    def notify_watch(self, key: bytes) -> None:
        """Report a changed key; fakeredis calls this once for each key a command changed."""
        self._report(key)

    def expired(self, item: Any) -> bool:
        """Say whether an item has expired. Its last millisecond still belongs to it, as in Redis."""
        return item.expireat is not None and round(item.expireat * 1000) < self.now_ms

    def _remove_expired(self) -> None:
        # Compares as `expired` does: fakeredis compares the floats, and would drop a due entry and keep its key.
        heap = self._expiry_heap
        while heap and round(heap[0][0] * 1000) < self.now_ms:
            _, key = heappop(heap)
            item = self._dict.get(key)
            if item is not None and self.expired(item):
                del self._dict[key]


class Keyspace(
    StringCommandsMixin,
    GenericCommandsMixin,
    HashCommandsMixin,
    ListCommandsMixin,
    SetCommandsMixin,
    SortedSetCommandsMixin,
    StreamsCommandsMixin,
    ServerCommandsMixin,
    CommandsMixinBase,
):
    """All databases and the data commands on them.

    `report` is told each key that was changed or made ready, in that order, and whether it was changed.
    """

    def __init__(self, contents: Contents, report: Callable[[Key, bool], None]) -> None:
        super().__init__()
        self._report = report
        self._muted = False
        self._server = FakeServer(version=(7, 0), server_type="redis")
        # All sixteen at once: iterating over them must not depend on which was used first.
        databases = {index: KeyspaceDatabase(partial(self._changed, index)) for index in range(DATABASES)}
        self._server.dbs = defaultdict(None, databases)
        for index, items in contents.items():
            for key, item in items.items():
                databases[index][key] = item
        self._client_info = ClientInfo()
        self.select_database(0, protocol=2)

    version = (7, 0)
    server_type = "redis"

    def add_subkey_event(self, event: bytes, key: bytes, subkeys: Sequence[bytes]) -> None:
        """Do nothing: Redis 7.0 has no events about parts of a key."""

    def _ttl(self, key: CommandItem, scale: float) -> int:
        """Return what is left of a key's time. Redis rounds half a second up; fakeredis rounds it to even."""
        if not key or key.expireat is None:
            return -1 if key else -2
        left_ms = max(round(key.expireat * 1000) - self.now_ms, 0)
        return left_ms if scale == 1000.0 else (left_ms + 500) // 1000

    def select_database(self, index: int, *, protocol: int) -> None:
        """Make the following commands work on this database and shape their replies for this protocol."""
        self._db_num = index
        self._db = self._server.dbs[index]
        self._client_info["resp"] = protocol

    def read_clock(self) -> None:
        """Take the time for the following commands; those of one transaction share it, as in Redis."""
        now_s = math.floor(time.time() * 1000) / 1000
        for database in self._server.dbs.values():
            database.time = now_s

    def _changed(self, index: int, key: bytes) -> None:
        if not self._muted:
            self._report((index, key), True)

    def run(self, name: str, arguments: Sequence[bytes], *, reports: bool = True) -> Reply:
        """Run one data command on the selected database, as fakeredis does."""
        self._muted = not reports
        signature = SUPPORTED_COMMANDS[name.lower().replace("|", " ")]
        items: Sequence[CommandItem] = ()
        try:
            applied = signature.apply(arguments, self._db, self.version)
            if len(applied) == 1:
                result: Any = applied[0]
            else:
                converted, items = applied
                result = getattr(self, signature.func_name)(*converted)
        except SimpleError as error:
            result = Failure(error.value)
        for item in items:
            item.writeback(remove_empty_val=FLAG_LEAVE_EMPTY_VAL not in signature.flags)
        return Status(result.value) if type(result) is SimpleString else result

    def value(self, key: bytes) -> Any:
        """Return what fakeredis holds at a key of the selected database, or None."""
        item = self._db.get(key)
        return None if item is None else item.value

    @property
    def now_ms(self) -> int:
        """The time of the running command, in ms since the epoch."""
        return round(self._db.time * 1000)

    def report(self, key: bytes, *, changed: bool = True) -> None:
        """Report what fakeredis does not report: a changed key, or one that only those who wait for it care about."""
        self._report((self._db_num, key), changed)

    def forget(self, key: bytes) -> None:
        """Remove a key as if it had never been."""
        self._db.pop(key, None)

    def holds(self, key: Key) -> bool:
        """Say whether a key exists and has not expired."""
        return key[1] in self._server.dbs[key[0]]

    def take_contents(self) -> Contents:
        """Move all items out: this keyspace is empty afterwards, and whoever still uses it changes nothing."""
        contents = {}
        for index, database in self._server.dbs.items():
            contents[index], database._dict = database._dict, {}
        return contents

    def copy_contents(self) -> Contents:
        """Copy all items, as a sync to disk does."""
        return {
            index: {key: _copy(item) for key, item in database._dict.items()}
            for index, database in self._server.dbs.items()
        }


def _copy(item: Item) -> Item:
    # Strings never change in place and lists hold strings: a deep copy would cost a call for each element.
    duplicate = Item(item.value[:] if isinstance(item.value, bytes | list) else copy.deepcopy(item.value))
    duplicate.expireat = item.expireat
    return duplicate
