"""Where the platform's dependencies are, and every time and size constant by which it may be judged."""

import attrs

__all__ = ["PlatformConfig"]


@attrs.frozen(kw_only=True)
class PlatformConfig:
    """One platform process. Promises with a time in them are computed from these constants."""

    redis_host: str = "127.0.0.1"
    redis_port: int = 6379
    clickhouse_url: str = "http://127.0.0.1:8123"
    llm_url: str = "http://127.0.0.1:8080/v1"
    llm_key: str | None = attrs.field(default=None, repr=False)
    llm_model: str = "wavetank"
    listen_host: str | None = None
    listen_port: int = 8000
    secret: str = attrs.field(repr=False)
    """Signs the users' tokens (HS256); at least 16 characters, as shorter keys can be guessed."""
    defects: frozenset[str] = frozenset()
    """Names from `models.defects` that are switched on. Never in production."""

    redis_timeout_s: float = 1.0
    """How long one Redis command may take, the connection and its handshake included."""
    clickhouse_timeout_s: float = 1.0
    llm_timeout_s: float = 1.5
    block_s: float = 5.0
    """How long a reader waits in Redis for a new stream entry before it asks again."""
    retry_s: float = 0.2
    """The pause after trouble with a store before the next attempt."""
    poll_s: float = 2.0
    """How often the ledger is asked for work that nobody announced."""

    hello_timeout_s: float = 2.0
    send_timeout_s: float = 2.0
    ping_interval_s: float = 5.0
    ping_timeout_s: float = 2.0
    drain_s: float = 3.0
    """How long a process that is told to end may finish what it has begun."""

    token_s: int = 300
    """How long a token is valid. A connection ends with its token, unless that is refreshed; so this is also how long
    an ended session may be served at most, by a gateway that cannot hear of its end."""
    session_s: int = 3600

    connections_max: int = 1000
    open_messages_max: int = 8
    """How many unanswered messages a user may have. More are refused as `overloaded`."""
    runs_at_once: int = 8
    node_tries: int = 3
    node_timeout_s: float = 6.0
    cache_s: int = 60

    breaker_failures_max: int = 3
    breaker_reset_s: float = 2.0
    drain_interval_s: float = 0.5
    drain_batch: int = 100
    buffer_tries: int = 5
    buffer_rows_max: int = 100_000
    """How many analytics rows Redis is asked to hold. The others are lost, as nobody was promised them."""
    analytics_linger_s: float = 0.3
    """How long an analytics event may wait for others that are inserted with it."""
    analytics_concurrency: int = 4
    """How many analytics inserts may be in flight at once."""

    def has(self, defect: str) -> bool:
        """Say whether a planted defect is switched on."""
        return defect in self.defects
