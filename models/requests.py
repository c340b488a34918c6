"""One small request to each service, as bytes, and how its answer begins: what is asked to learn how fast one is."""

import json
import struct
from collections.abc import Mapping

from simulator.load.service_request import Said, ServiceRequest

__all__ = ["SERVICE_REQUESTS"]

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
CONVERSATION = json.dumps({"model": "wavetank", "messages": [{"role": "user", "content": QUESTION}]})

SERVICE_REQUESTS: Mapping[str, ServiceRequest] = {
    "redis": ServiceRequest("resp", Said(b"*2\r\n$3\r\nGET\r\n$8\r\nwavetank\r\n", b"$")),
    "postgres": ServiceRequest(
        "postgresql",
        Said(b"Q\0\0\0\rSELECT 1\0", b"T"),
        opening=Said(_startup(USER, USER), b"R\0\0\0\x08\0\0\0\0"),  # without a password
    ),
    "clickhouse": ServiceRequest("http", Said(_post("clickhouse", "/", "SELECT 1", "text/plain"), OK)),
    "llm": ServiceRequest("http", Said(_post("llm", "/v1/chat/completions", CONVERSATION, "application/json"), OK)),
}
