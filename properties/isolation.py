"""Isolation: what belongs to one user is seen by that user only, and in the conversation that it belongs to.

What belongs to a user shows by its marks: the names of their conversations, messages and sessions, and the words that
nobody else has asked. They are looked for in every frame, and in all that the platform's hosts and stores tell, logs
included; what tells of nobody must hold no mark at all. Not looked at: what the LLM answers, which may be a mistake of
its own that the platform is to notice; what users say; and how trespasses are answered, which is another promise.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import attrs

from properties.exchange import user_of
from properties.observed import leave_unjudged
from properties.places import AGENTS, PROCESSES
from simulator.history import Event, Kind, Reading, Value
from simulator.property import Expectation, Property, Unknown, Violation

__all__ = ["ISOLATION"]

TOLD = ("reply", "event", "ack", "cancelling")
"""Frames that tell of a message of the user's. An error may quote what was no message."""


@attrs.frozen
class _Place:
    """Where data of a user may be: how evidence words the place, and the part of the data that is looked at."""

    site: str
    words: str
    part: str | None = None


PLACES: Mapping[str, _Place] = {
    "frame": _Place("frame", "{owner} received {what} at {at_s:.3f} s"),
    "llm_asked": _Place("prompt", "the LLM was asked {what} for {owner}"),
    "llm_exchanged": _Place("prompt", "the LLM was asked {what} for {owner}", part="request"),
    "stored_message": _Place("message", "a message of {owner} is {what}"),
    "stored_result": _Place("result", "a result for {owner} is {what}"),
    "stored_reply": _Place("reply", "a reply to {owner} is {what}"),
    "cached": _Place("cache", "the cache has for {owner} {what}"),
    "stream_entry": _Place("stream", "a stream of {owner} holds {what}"),
    "buffered_row": _Place("row", "the buffer holds for {owner} {what}"),
    "row": _Place("row", "a row of {owner} is {what}"),
}
ANYWHERE = _Place("log", "{host} told of {owner} {what} at {at_s:.3f} s")
NOT_OF_THE_PLATFORM = ("uncaught", "still_pending", "excused", "inspected")

WORD = re.compile(r"\w+")
NO_WORD = ""
"""In place of one, for marks that have none."""

NEEDED: Mapping[str, tuple[str, ...]] = {
    "prompt": ("llm", AGENTS),
    **dict.fromkeys(("message", "result", "reply", "action"), ("postgres",)),
    **dict.fromkeys(("cache", "stream"), ("redis",)),
    "row": ("redis", "clickhouse"),
    "log": PROCESSES,
}
"""What must be looked at for each site but those of what users see."""

OWNERS: Mapping[str, Callable[[Any], str]] = {
    "user": str,
    "run": lambda run: str(run).partition(":")[0],
    "message": lambda message: str(message).partition("-")[0],
    "key": lambda key: _user_in(str(key)),
    "request": lambda request: str(request.get("user", "")),
    "body": lambda body: str(json.loads(body).get("user", "")),
}
"""The fields that say whose data are, the surest first."""


@attrs.frozen
class _Mark:
    """A text by which something is known to be a user's; `kind` is how evidence calls it."""

    text: str
    kind: str
    owner: str

    def is_in(self, text: str) -> bool:
        """Whether it stands there on its own, not as a part of another word."""
        return self.text in text and re.search(rf"(?<!\w){re.escape(self.text)}(?!\w)", text) is not None


@attrs.frozen
class _Marks:
    """All marks, and the conversation of each message."""

    all: Sequence[_Mark]
    conversations: Mapping[str, str]
    owners: Mapping[str, str] = attrs.field(init=False)
    """Whose each mark is, by its text."""
    by_word: Mapping[str, Sequence[int]] = attrs.field(init=False)
    """The numbers of the marks, by that of their words which the fewest marks have."""

    @owners.default
    def _owners(self) -> Mapping[str, str]:
        return {each.text: each.owner for each in reversed(self.all)}

    @by_word.default
    def _by_word(self) -> Mapping[str, Sequence[int]]:
        return _by_rarest_word(self.all)

    @classmethod
    def of(cls, history: Reading) -> "_Marks":
        """Collect what only one user has."""
        found: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        sent = history.observed("message_sent")
        for kind, field in (("context", "context"), ("message", "message"), ("question", "text")):
            for event in sent:
                found[str(event.data[field]), kind][user_of(event)] = None
        for event in history.observed("session_begun"):
            found[str(event.data["session"]), "session"][str(event.data["user"])] = None
        conversations = {str(event.data["message"]): str(event.data["context"]) for event in sent}
        made = [_Mark(text, kind, *owners) for (text, kind), owners in found.items() if text and len(owners) == 1]
        marks = cls(made, conversations)
        asked = {text: owners for (text, kind), owners in found.items() if kind == "question"}
        common = dict.fromkeys(each for text, owners in asked.items() for each in marks.asked_by_others(text, owners))
        return cls([each for each in made if each not in common], conversations)

    def asked_by_others(self, text: str, owners: Iterable[str]) -> Iterator[_Mark]:
        """Yield the questions that stand in a text which another user has asked, too."""
        for mark in self.standing_in(text):
            if mark.kind == "question" and any(owner != mark.owner for owner in owners):
                yield mark

    def standing_in(self, text: str) -> list[_Mark]:
        """Return the marks that stand in a text, in their order."""
        words = dict.fromkeys((NO_WORD, *WORD.findall(text)))
        numbers = sorted(chain.from_iterable(self.by_word.get(word, ()) for word in words))
        return [mark for mark in map(self.all.__getitem__, numbers) if mark.is_in(text)]

    def is_elsewhere(self, mark: _Mark, message: str) -> bool:
        """Whether a mark is that of another conversation of who sent a message."""
        conversation = self.conversations.get(message)
        if conversation is None or mark.kind != "context":
            return False
        return mark.text != conversation and mark.owner == self.owners.get(conversation)


def _by_rarest_word(marks: Sequence[_Mark]) -> Mapping[str, Sequence[int]]:
    """Return the numbers of marks by a word that each has: a mark that stands in a text has all its words there."""
    words = [WORD.findall(mark.text) or [NO_WORD] for mark in marks]
    common = Counter(chain.from_iterable(words))
    found: defaultdict[str, list[int]] = defaultdict(list)
    for number, each in enumerate(words):
        found[min(each, key=common.__getitem__)].append(number)
    return found


def check_isolation(history: Reading) -> Violation | Unknown | None:
    """Look for marks wherever data of another user or conversation are, and for records under another's name."""
    marks = _Marks.of(history)
    violation = next(_misnamed(history, marks), None) or next(_misplaced(history, marks), None)
    leave_unjudged(history, NEEDED)
    if violation is None and not (marks.all if history.is_part else marks.conversations):
        return Unknown("nobody asked anything")
    return violation


def _misplaced(history: Reading, marks: _Marks) -> Iterator[Violation]:
    """Marks where they must not be."""
    for event in _of_platform(history):
        place = PLACES.get(event.name, ANYWHERE)
        owner, message = _owner(event, marks), _message_of(event)
        # The whole of the data as one text: a mark may hide in any field, and in any depth.
        standing = marks.standing_in(str(event.data if place.part is None else event.data.get(place.part)))
        for mark in standing:
            if mark.owner != owner:
                said = place.words.format(
                    owner=owner or "nobody in particular", what=_words(event.data), at_s=event.at_s, host=event.host
                )
                yield Violation(f"{said}, and the {mark.kind} in it is {mark.owner}'s", place.site)
        for mark in standing:
            if marks.is_elsewhere(mark, message):
                yield Violation(
                    f"{_words(event.data)} came of {message}, which was asked in {marks.conversations[message]}",
                    "conversation",
                )


def _of_platform(history: Reading) -> list[Event]:
    """Return what was told by the platform's hosts and stores, and what arrived."""
    names = dict.fromkeys(
        event.name
        for event in history.events
        if event.kind is Kind.OBSERVE and event.name not in NOT_OF_THE_PLATFORM and not event.host.startswith("user:")
    )
    return history.observed("frame", *names)


def _misnamed(history: Reading, marks: _Marks) -> Iterator[Violation]:
    """Records under another's name."""
    senders = {each.text: each.owner for each in marks.all if each.kind == "message"}
    for frame in history.observed("frame"):
        user, message = user_of(frame), frame.data.get("to", frame.data.get("id"))
        is_told = frame.data["type"] in TOLD and not _is_of(message, user)
        if is_told or senders.get(str(message), user) != user:
            yield Violation(
                f"{user} received news of {message} at {frame.at_s:.3f} s in a frame of type {frame.data['type']}, and "
                "it is another's",
                "news",
            )
    for action in history.observed("stored_action"):
        if action.data["user"] != OWNERS["run"](action.data["run"]):
            yield Violation(
                f"the effect of {action.data['node']} in run {action.data['run']} was done for {action.data['user']}",
                "action",
            )
    for row in history.observed("row"):
        if not _is_of(row.data["message"], str(row.data["user"])):
            yield Violation(f"the analytics row of {row.data['message']} names {row.data['user']}", "row")


def _owner(event: Event, marks: _Marks) -> str:
    """Return whose the data are, or nothing when they do not say."""
    if event.name == "frame":
        return user_of(event)
    for field, find in OWNERS.items():
        if field in event.data:
            return find(event.data[field])
    session = event.data.get("session")
    return marks.owners.get(str(session), "") if session else ""


def _message_of(event: Event) -> str:
    """Return of which message the data came: its id, or nothing."""
    data = event.data
    return str(data["run"]).partition(":")[2] if "run" in data else str(data.get("to", data.get("message", "")))


def _is_of(message: Value, user: str) -> bool:
    return str(message).startswith(f"{user}-")


def _user_in(key: str) -> str:
    """Return whose a cache key is: "cache:USER:...", and nobody's when it does not say."""
    parts = key.split(":")
    return parts[1] if len(parts) > 2 else ""


def _words(data: Mapping[str, Value]) -> str:
    """Return the part of the data that says most."""
    return next(
        (repr(data[name]) for name in ("text", "result", "value", "question") if data.get(name)), str(dict(data))
    )


ISOLATION = Property(
    "isolation",
    Expectation.ALWAYS,
    check_isolation,
    "what is a user's is seen only by them and in its conversation: in frames, prompts, results, cache, rows and logs",
    in_parts=True,
)
