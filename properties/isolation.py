"""Isolation: what belongs to one user is seen by that user only, and in the conversation that it belongs to."""

import re
from collections.abc import Callable, Iterator, Mapping

import attrs

from properties.exchange import user_of
from simulator.history import Event, Reading, Value
from simulator.property import Expectation, Property, Violation

__all__ = ["ISOLATION"]


@attrs.frozen
class _Place:
    """Where data of a user may be: whose they are to be there, and how evidence words the place."""

    site: str
    owner: Callable[[Event], str]
    words: str


PLACES: Mapping[str, _Place] = {
    "frame": _Place("frame", user_of, "{owner} received {what} at {at_s:.3f} s"),
    "llm_asked": _Place("prompt", lambda event: str(event.data["user"]), "the LLM was asked {what} for {owner}"),
    "stored_message": _Place("message", lambda event: str(event.data["user"]), "a message of {owner} is {what}"),
    "stored_result": _Place("result", lambda event: _user_of_run(event), "a result for {owner} is {what}"),
    "stored_reply": _Place("reply", lambda event: str(event.data["user"]), "a reply to {owner} is {what}"),
    "cached": _Place("cache", lambda event: _user_in(str(event.data["key"])), "the cache has for {owner} {what}"),
}


def check_isolation(history: Reading) -> Violation | None:
    """Look for contexts wherever data of another user or conversation are, and for records under another's name."""
    sent = history.observed("message_sent")
    owners = {str(event.data["context"]): user_of(event) for event in sent}
    conversations = {str(event.data["message"]): str(event.data["context"]) for event in sent}
    contexts = re.compile("|".join(map(re.escape, sorted(owners))) or r"(?!)")
    for event in history.observed(*PLACES):
        place = PLACES[event.name]
        owner = place.owner(event)
        # The whole of the data as one text: a context may hide in any field, and in any depth.
        for found in contexts.findall(str(event.data)):
            if owners[found] != owner:
                what = _words(event.data)
                said = place.words.format(owner=owner or "nobody in particular", what=what, at_s=event.at_s)
                return Violation(f"{said}, and the context in it is {owners[found]}'s", place.site)
            message = _message_of(event)
            if conversations.get(message, found) != found:
                return Violation(
                    f"{_words(event.data)} came of {message}, which was asked in {conversations[message]}",
                    "conversation",
                )
    return next(_misnamed(history), None)


def _misnamed(history: Reading) -> Iterator[Violation]:
    for frame in history.observed("frame"):
        if frame.data["type"] in ("reply", "event") and not _is_of(frame.data["to"], user_of(frame)):
            yield Violation(
                f"{user_of(frame)} received news of {frame.data['to']} at {frame.at_s:.3f} s, which is another's",
                "news",
            )
    for action in history.observed("stored_action"):
        if action.data["user"] != _user_of_run(action):
            yield Violation(
                f"the effect of {action.data['node']} in run {action.data['run']} was done for {action.data['user']}",
                "action",
            )
    for row in history.observed("row"):
        if not _is_of(row.data["message"], str(row.data["user"])):
            yield Violation(f"the analytics row of {row.data['message']} names {row.data['user']}", "row")


def _message_of(event: Event) -> str:
    """Return whose result the data are: the id of a message, or nothing."""
    if event.name == "stored_result":
        return str(event.data["run"]).partition(":")[2]
    return str(event.data.get("to", ""))


def _is_of(message: Value, user: str) -> bool:
    return str(message).startswith(f"{user}-")


def _user_of_run(event: Event) -> str:
    return str(event.data["run"]).partition(":")[0]


def _user_in(key: str) -> str:
    """Return whose a cache key is: "cache:USER:...", and nobody's when it does not say."""
    parts = key.split(":")
    return parts[1] if len(parts) > 2 else ""


def _words(data: Mapping[str, Value]) -> str:
    """Return the part of the data that says most."""
    return next((repr(data[name]) for name in ("text", "result", "value", "question") if data.get(name)), str(data))


ISOLATION = Property(
    "isolation",
    Expectation.ALWAYS,
    check_isolation,
    "a conversation's context is seen only by its user and in it: in frames, prompts, results, replies, cache, rows",
)
