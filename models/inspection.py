"""What the stores hold, told row by row: for promises that are judged when everything is quiet."""

from typing import Protocol

import httpx
import msgspec
from coredis import Redis

from models.buffer import BUFFER
from models.database import Database, DatabaseError, Row, Script, Statement

__all__ = ["Observe", "inspect_clickhouse", "inspect_postgres", "inspect_redis"]

MESSAGES = "SELECT user_id, message_id, body, context, workflow, state FROM messages ORDER BY n"
RESULTS = "SELECT run, node, status, result FROM results ORDER BY run, node"
ACTIONS = "SELECT run, node, user_id FROM actions ORDER BY run, node"
REPLIES = "SELECT user_id, seq, body FROM replies ORDER BY user_id, seq"
USERS = "SELECT user_id, seq, open FROM users ORDER BY user_id"
EVERYTHING = (MESSAGES, RESULTS, ACTIONS, REPLIES, USERS)
ROWS = "SELECT event_id, user, message FROM analytics FINAL FORMAT JSONEachRow"
UNDEFINED_TABLE = "42P01"
NO_SUCH_TABLE = "Code: 60"


class Observe(Protocol):
    """Records an observation: its name and its data."""

    def __call__(self, name: str, /, **data: object) -> None: ...  # noqa: D102


async def inspect_postgres(observe: Observe, database: Database) -> None:
    """Tell every stored message, result, action, reply and user."""
    try:
        tables = await database.transact(_read_all)
    except DatabaseError as error:
        if error.sqlstate != UNDEFINED_TABLE:
            raise
        tables = [[] for _ in EVERYTHING]  # the platform makes them with its first transaction
    for user, message, text, context, workflow, state in tables[0]:
        observe(
            "stored_message",
            user=user,
            message=message,
            text=text,
            context=context,
            workflow=msgspec.json.decode(str(workflow)),
            state=state,
        )
    for run, node, status, result in tables[1]:
        observe("stored_result", run=run, node=node, status=status, result=result)
    for run, node, user in tables[2]:
        observe("stored_action", run=run, node=node, user=user)
    for user, seq, body in tables[3]:
        reply = msgspec.json.decode(str(body))
        observe(
            "stored_reply",
            user=user,
            seq=seq,
            to=reply["to"],
            text=reply["text"],
            status=reply["status"],
            nodes=reply["nodes"],
        )
    for user, seq, open_messages in tables[4]:
        observe("stored_user", user=user, seq=seq, open=open_messages)
    observe("inspected", store="postgres")


def _read_all() -> Script[list[list[Row]]]:
    tables = []
    for sql in EVERYTHING:
        rows = yield Statement(sql)
        tables.append(list(rows))
    return tables


async def inspect_redis(observe: Observe, host: str, port: int) -> None:
    """Tell every session with its age, every cached answer, every entry of users' streams, and what is buffered."""
    async with Redis(host=host, port=port, decode_responses=True, verify_version=False) as redis:
        for key in sorted([str(key) async for key in redis.scan_iter()]):
            kind, _, name = key.partition(":")
            match kind:
                case "session":
                    observe("session_key", session=name, user=await redis.get(key), ttl_s=await redis.ttl(key))
                case "cache":
                    observe("cached", key=key, value=await redis.get(key))
                case "replies" | "events":
                    for entry in await redis.xrange(key):
                        body = entry.field_values["body"]
                        observe("stream_entry", stream=kind, user=name, id=entry.identifier, body=body)
        buffered = await redis.lrange(BUFFER, 0, -1)
        for row in buffered:
            observe("buffered_row", body=row)
        observe("inspected", store="redis", buffered=len(buffered))


async def inspect_clickhouse(observe: Observe, url: str) -> None:
    """Tell every analytics row."""
    async with httpx.AsyncClient(trust_env=False, timeout=None, verify=False) as http:
        response = await http.post(url, content=ROWS)
    if response.status_code == httpx.codes.OK:
        rows = [msgspec.json.decode(line, type=dict[str, str]) for line in response.text.splitlines()]
    elif NO_SUCH_TABLE in response.text:
        rows = []  # the platform makes the table with its first row
    else:
        response.raise_for_status()
    for row in sorted(rows, key=lambda row: (row["message"], row["event_id"])):
        observe("row", event_id=row["event_id"], user=row["user"], message=row["message"])
    observe("inspected", store="clickhouse")
