"""The planted bugs: small, realistic, off by default; the yardstick of the properties and the search."""

import attrs

__all__ = ["DEFECTS", "Defect"]


@attrs.frozen
class Defect:
    """One deliberate bug: the name that switches it on, the promise it breaks, and what it does."""

    name: str
    breaks: str
    summary: str


DEFECTS: tuple[Defect, ...] = (
    Defect(
        "cache-without-user",
        "isolation",
        "The reply cache is keyed by the question alone, so one user is answered with another's context.",
    ),
    Defect(
        "resume-skips-missed",
        "delivery",
        "A resumed connection starts at the stream's present end, so the replies it missed are skipped.",
    ),
    Defect(
        "ack-before-store",
        "durability",
        "A message is acknowledged before it is stored, and a failure to store it is only logged.",
    ),
    Defect(
        "drain-read-then-delete",
        "fallback",
        "The drain deletes the whole buffer after its insert, with what was buffered in the meantime.",
    ),
    Defect(
        "drain-without-deduplication",
        "fallback",
        "Each attempt of the drain gives its events fresh ids, so an insert of unknown outcome is repeated.",
    ),
    Defect(
        "breaker-never-recloses",
        "breaker",
        "The success of a half-open breaker's probe is not counted, so the breaker never closes again.",
    ),
)
