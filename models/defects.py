"""The planted bugs: small, realistic, off by default; the yardstick of the properties and the search."""

import attrs

__all__ = ["DEFECTS", "Defect"]


@attrs.frozen
class Defect:
    """One deliberate bug: the name that switches it on, the promise it breaks, what it does, and what it imitates."""

    name: str
    breaks: str
    summary: str
    imitates: str


DEFECTS: tuple[Defect, ...] = (
    Defect(
        "cache-without-user",
        "isolation",
        "The answer cache is keyed by the question alone, so one user is answered with another's context.",
        "a cache key without the tenant",
    ),
    Defect(
        "context-shared-between-runs",
        "isolation",
        "The agents keep the context of the message at hand in one place, which the next run overwrites.",
        "shared mutable state in what was a single-user prototype",
    ),
    Defect(
        "retry-rebuilds-context",
        "isolation",
        "A retried question is asked with the context of whoever was asked for last.",
        "a retry that rebuilds its request from the session at hand",
    ),
    Defect(
        "answer-not-checked",
        "isolation",
        "What the LLM says is passed on without a check that it belongs to the conversation.",
        "a model provider that mixed up conversations, and nobody who noticed",
    ),
    Defect(
        "context-logged",
        "isolation",
        "When an agent has finished, the log tells the question and the context of whoever was worked for last.",
        "a debug line about the request at hand, written when that is another",
    ),
    Defect(
        "resume-skips-missed",
        "delivery",
        "A resumed connection starts at the newest reply, so the replies it missed are skipped.",
        "a subscription that begins with 'now'",
    ),
    Defect(
        "resume-off-by-one",
        "delivery",
        "A resumed connection starts with the reply that was seen last.",
        "'from' read as inclusive on one side and exclusive on the other",
    ),
    Defect(
        "answered-twice",
        "delivery",
        "A reply whose commit was not confirmed is stored again under the next number.",
        "a result delivered twice after a retry",
    ),
    Defect(
        "answers-overtake",
        "delivery",
        "A user's messages are worked on at once, and answered as they are finished.",
        "a worker pool that forgot that a conversation has an order",
    ),
    Defect(
        "ack-before-store",
        "durability",
        "A message is acknowledged before it is stored, and a failure to store it is only logged.",
        "an acknowledgement moved up for the sake of latency",
    ),
    Defect(
        "unconfirmed-stored-anew",
        "durability",
        "A message whose commit was not confirmed is stored again as a new one.",
        "an ambiguous commit retried as new",
    ),
    Defect(
        "unknown-told-as-failure",
        "durability",
        "A commit that was not confirmed is told to the user as a failure, although it may have happened.",
        "a timeout treated as failure while the write succeeded",
    ),
    Defect(
        "drain-read-then-delete",
        "fallback",
        "The drain deletes the whole buffer after its insert, with what was buffered in the meantime.",
        "a queue emptied by DEL",
    ),
    Defect(
        "buffer-trimmed-by-count",
        "fallback",
        "The drain keeps the newest rows of the buffer, as many as there should be left by an earlier count.",
        "a buffer trimmed by count after a concurrent append",
    ),
    Defect(
        "drain-without-deduplication",
        "fallback",
        "Each attempt of the drain gives its events fresh ids, so an insert of unknown outcome is repeated.",
        "ids made where the insert is tried, not where the event is",
    ),
    Defect(
        "shutdown-drops-analytics",
        "fallback",
        "A process that is told to end does not wait for the analytics that it has begun to write.",
        "a graceful shutdown that forgets the background tasks",
    ),
    Defect(
        "breaker-never-recloses",
        "breaker",
        "The success of a half-open breaker's probe is not counted, so the breaker never closes again.",
        "an outage that outlived its cause until the next deployment",
    ),
    Defect(
        "half-open-stampede",
        "breaker",
        "A half-open breaker admits every caller, not one probe.",
        "a service knocked down again by everybody who waited for it",
    ),
    Defect(
        "first-failure-opens",
        "breaker",
        "A breaker opens at the first failure, not after several in a row.",
        "a threshold set for a test and left there",
    ),
    Defect(
        "failed-probe-closes",
        "breaker",
        "A half-open breaker closes when its probe has ended, whatever came of it.",
        "a health check that took any end for a good one",
    ),
    Defect(
        "refusals-count-as-failures",
        "breaker",
        "A request that the LLM refuses as wrong counts as a failure of the LLM.",
        "one user's bad input that opened the breaker for all",
    ),
    Defect(
        "dependents-start-early",
        "workflow",
        "An agent starts as soon as any of those it needs is done.",
        "'any' written for 'all'",
    ),
    Defect(
        "failed-dependency-ignored",
        "workflow",
        "An agent works without the results of those that failed, as if they had not been asked for.",
        "a partial failure reported as success",
    ),
    Defect(
        "effect-before-result",
        "workflow",
        "An action's effect is stored before the result, not with it, and repeated after a crash between the two.",
        "an effect that is not idempotent",
    ),
    Defect(
        "cancelled-run-goes-on",
        "workflow",
        "A cancelled run is answered as cancelled while its agents go on to act.",
        "a cancellation that reached the screen and not the worker",
    ),
    Defect(
        "revoked-token-believed",
        "auth",
        "A token is believed until it expires: whether its session was ended is not asked.",
        "a stateless token in a system with a logout button",
    ),
    Defect(
        "revocation-not-pushed",
        "auth",
        "Open connections of an ended session are not ended.",
        "authentication at connect time only",
    ),
    Defect(
        "refresh-revives-session",
        "auth",
        "A refresh writes the session anew, and so revives one that was ended.",
        "an upsert where an update was meant",
    ),
    Defect(
        "expiry-checked-on-connect-only",
        "auth",
        "A connection outlives its token.",
        "a WebSocket open for days",
    ),
    Defect(
        "session-fixation",
        "auth",
        "A login takes over the session id that the client proposes.",
        "session fixation",
    ),
    Defect(
        "claimed-user-believed",
        "auth",
        "A connection is the user's whom its hello names, whoever its token proves.",
        "an identifier from the request trusted over the one from the token",
    ),
    Defect(
        "expired-token-believed",
        "auth",
        "When a connection begins, nobody looks whether its token has expired.",
        "a verifier that was told to check the signature only",
    ),
    Defect(
        "signature-not-checked",
        "auth",
        "A token is read, and believed, without a look at who signed it.",
        "a call of decode where verify was meant",
    ),
    Defect(
        "completed-before-tool",
        "contract",
        "An agent is said to have completed before the completion of its tool is told.",
        "events sent from a finally block",
    ),
    Defect(
        "malformed-frame-ends-connection",
        "contract",
        "A malformed frame ends the connection without a word.",
        "an exception handler around the wrong lines",
    ),
    Defect(
        "ack-with-more-fields",
        "contract",
        "The acknowledgement of a question to several agents has a field that the protocol does not know.",
        "a field added on one side",
    ),
    Defect(
        "farewell-before-the-rest",
        "contract",
        "The connections of a gateway that ends are told so, and then what is still on its way.",
        "a close that is announced before the queue is empty",
    ),
    Defect(
        "cache-is-mandatory",
        "degradation",
        "A message is answered only once the cache has said whether it knows the answer.",
        "an optional dependency on the critical path",
    ),
    Defect(
        "llm-outage-waited-out",
        "degradation",
        "The LLM is asked again until it answers, however long that takes.",
        "a retry without end",
    ),
    Defect(
        "analytics-in-the-way",
        "degradation",
        "A reply is passed on only after its analytics are written.",
        "a side effect that was awaited",
    ),
    Defect(
        "sessions-never-pruned",
        "resources",
        "A session is stored without an end.",
        "a Redis that was full one day",
    ),
    Defect(
        "place-not-given-back",
        "resources",
        "A cancelled message keeps its place among the user's open ones.",
        "a counter decremented on the happy path",
    ),
    Defect(
        "subscription-outlives-connection",
        "resources",
        "When a connection ends, the gateway goes on waiting for news of its user.",
        "a subscription without an owner",
    ),
    Defect(
        "recovery-waits-for-clickhouse",
        "finishes",
        "Agents that begin with work left over from others wait for ClickHouse before they take it up.",
        "a recovery that first makes sure of all it might ever use",
    ),
    Defect(
        "work-not-announced",
        "latency",
        "The supervisor is not told of new work, and finds it when it looks anyhow.",
        "a lost notification hidden by polling",
    ),
    Defect(
        "slow-consumer-holds-all",
        "latency",
        "Frames to all users are sent, and seen to arrive, one at a time, so who does not read holds up the others.",
        "a broadcast loop",
    ),
)
