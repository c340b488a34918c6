"""What is asked of the simulated and of the real Redis about numbers, in scripts as `redis_cases` describes them."""

__all__ = ["NUMBER_SCRIPTS", "UNMODELLED_NUMBERS"]

DIGITS = "1" * 5000

NUMBER_SCRIPTS = {
    "numbers: databases and protocols": f"""
        SELECT {DIGITS}
        SELECT 01
        SELECT 99
        SELECT -1
        SELECT -
        SELECT 2147483648
        SELECT -2147483649
        SELECT 9223372036854775808
        HELLO {DIGITS}
        HELLO 03
        HELLO -
        HELLO -3
        HELLO 9223372036854775808
    """,
    "numbers: underscores are no digits": """
        ZADD z 1 1_0 2 m_0 => :2
        ZADD z 1_0 m
        ZADD z INCR 1_0 m
        ZINCRBY z 1_0.5 m
        ZINCRBY z 1 1_0
        ZCOUNT z 1_0 2
        ZCOUNT z (1_0 2
        ZRANGEBYSCORE z 0 2_0
        ZRANGE z 1_0 20 BYSCORE
        ZREMRANGEBYSCORE z 0 2_0
        ZCARD z => :2
        BLPOP none 0_1
        SET s x
        ZADD s 1_0 m
    """,
    "numbers: long ones": f"""
        INCRBY n {DIGITS}
        EXPIRE n {DIGITS}
        SETEX n {DIGITS} v
        LRANGE n 0 {DIGITS}
        XADD s 1-1 {DIGITS[:900]} {DIGITS[:900]}
        XADD s {DIGITS[:900]} f v
    """,
}
"""Scripts by name."""

UNMODELLED_NUMBERS = (
    "ZADD z 0x10 m",
    "ZINCRBY z 0X1 m",
    "ZCOUNT z (0x1 inf",
    "BLPOP none 0x1",
    f"XADD s {DIGITS}-1 f v",
    f"XRANGE s - ({DIGITS}",
    f"XREAD STREAMS s 1-{DIGITS}",
)
"""Requests that the real server understands, or finds fault with, and the simulated one refuses by name."""
