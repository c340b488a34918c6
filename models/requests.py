"""One small request to each service, as bytes, and how its answer begins: what is asked to learn how fast one is."""

import json
import struct

__all__ = ["CLICKHOUSE_ASKED", "LLM_ASKED", "POSTGRES_ASKED", "POSTGRES_OPENED", "REDIS_ASKED"]

PROTOCOL = 3 << 16
USER = "wavetank"
QUESTION = "how long does this take?"


def _post(host: str, path: str, body: str, kind: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return f"{head}{body}".encode()


def _startup(user: str, database: str) -> bytes:
    words = ("user", user, "database", database, "")
    body = struct.pack(">I", PROTOCOL) + b"".join(word.encode() + b"\0" for word in words)
    return struct.pack(">I", len(body) + 4) + body


OK = b"HTTP/1.1 200"
REDIS_ASKED = (b"*2\r\n$3\r\nGET\r\n$8\r\nwavetank\r\n", b"$")
POSTGRES_OPENED = (_startup(USER, USER), b"R\0\0\0\x08\0\0\0\0")
"""Without a password."""
POSTGRES_ASKED = (b"Q\0\0\0\rSELECT 1\0", b"T")
CLICKHOUSE_ASKED = (_post("clickhouse", "/", "SELECT 1", "text/plain"), OK)
LLM_ASKED = (
    _post(
        "llm",
        "/v1/chat/completions",
        json.dumps({"model": "wavetank", "messages": [{"role": "user", "content": QUESTION}]}),
        "application/json",
    ),
    OK,
)
