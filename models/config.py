"""Where the platform's dependencies are, and every time constant by which it may be judged."""

import attrs

__all__ = ["PlatformConfig"]


@attrs.frozen(kw_only=True)
class PlatformConfig:
    """One platform process. Promises with a time in them are computed from these constants."""

    redis_host: str = "127.0.0.1"
    redis_port: int = 6379
    clickhouse_url: str = "http://127.0.0.1:8123"
    listen_host: str | None = None
    listen_port: int = 8000
    secret: str = attrs.field(repr=False)
    """Signs the users' tokens (HS256); at least 16 characters, as shorter keys can be guessed."""
    defects: frozenset[str] = frozenset()
    """Names from `models.defects` that are switched on. Never in production."""

    redis_timeout_s: float = 1.0
    """How long one Redis command may take, the connection and its handshake included."""
    clickhouse_timeout_s: float = 1.0
    block_s: float = 5.0
    """How long a reader waits in Redis for a new stream entry before it asks again."""
    retry_s: float = 0.2
    """The pause after trouble with Redis before the next attempt."""

    hello_timeout_s: float = 2.0
    send_timeout_s: float = 2.0
    ping_interval_s: float = 5.0
    ping_timeout_s: float = 2.0
    session_s: int = 3600

    think_s: float = 0.05
    """What answering a question costs the agent when the cache does not know it."""
    cache_s: int = 60
    work_batch: int = 16
    """How many work entries the agent fetches at once; it still handles one after another."""

    breaker_failures_max: int = 3
    breaker_reset_s: float = 2.0
    drain_interval_s: float = 0.5
    drain_batch: int = 100
    buffer_tries: int = 5
    analytics_concurrency: int = 4
    """How many analytics inserts may be in flight at once."""

    def has(self, defect: str) -> bool:
        """Say whether a planted defect is switched on."""
        return defect in self.defects
