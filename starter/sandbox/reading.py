"""Reading a fault plan: every member is checked, and the first that is wrong is named with what is allowed there."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from starter.sandbox.faults import FAULTS
from starter.sandbox.happenings import DECISIONS
from starter.sandbox.plan import MOVES_MONEY, Decision, EventChance, Plan, PlannedHappening, RequestFault
from starter.sandbox.wire import RefusedError, invalid

Kind = Callable[[Any, str], Any]
"""Checks the value at a place and returns it, or raises ``RefusedError``."""

_WHOLE_PLAN: Final = "the plan"
_LONGEST_DELAY: Final = 3600
_LONGEST_WHILE: Final = 30 * 24 * 3600
_WORD: Final = re.compile(r"[a-z0-9_]{1,64}")
_PLAYED: Final = {
    "decline": ("charge", "refund", "transfer"),
    "pending": ("charge", "refund"),
    "requires_action": ("charge",),
}
"""Faults that not every operation has."""
_ONLY_OF: Final = {"code": "decline", "retry_after": "rate_limit", "status": "answer", "body": "answer"}
_HAPPENINGS: Final = {"transfer": ("reverse",), "charge": ("contest", "fail", "collect")}
_HAPPENS_WITH: Final = {
    "share": ("reverse", "contest"),
    "code": ("fail",),
    "reason": ("contest",),
    "decide": ("contest",),
}


def checked(document: bytes) -> str:
    """Return the text of a plan that can be read. Raises ``RefusedError`` naming the first mistake."""
    try:
        text = document.decode()
    except UnicodeDecodeError:
        raise invalid(f"{_WHOLE_PLAN} is not UTF-8") from None
    parsed(text)
    return text


def parsed(text: str) -> Plan:
    """Read a plan. Raises ``RefusedError`` naming the first mistake."""
    try:
        document = json.loads(text, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise invalid(f"{_WHOLE_PLAN} is not JSON: {error}") from None
    return Plan(**_record(_PLAN)(document, _WHOLE_PLAN))


def why(refused: RefusedError) -> str:
    """The message of a refusal, for a person."""
    body = refused.answer.body
    return str(body["error"]["message"]) if isinstance(body, Mapping) else body


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name in found if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"the member {_shown(twice)} is there twice")
    return found


def _wrong(place: str, allowed: str, value: Any) -> RefusedError:
    return invalid(f"{place}: {allowed}, not {_shown(value)}", param=place)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _number(least: float, most: float) -> Kind:
    def check(value: Any, place: str) -> Any:
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        if not plain or not math.isfinite(value) or not least <= value <= most:
            raise _wrong(place, f"a number from {least:,} to {most:,}", value)
        return float(value)

    return check


def _whole(least: int, most: int) -> Kind:
    def check(value: Any, place: str) -> Any:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _wrong(place, f"a whole number from {least:,} to {most:,}", value)
        return value

    return check


def _share(value: Any, place: str) -> Any:
    if _number(0, 1)(value, place) == 0:
        raise _wrong(place, "a number above 0 and at most 1", value)
    return value


def _one_of(*names: str) -> Kind:
    def check(value: Any, place: str) -> Any:
        if not isinstance(value, str) or value not in names:
            raise _wrong(place, f"one of {', '.join(names)}", value)
        return value

    return check


def _word(value: Any, place: str) -> Any:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise _wrong(place, "a word of small letters, digits and _", value)
    return value


def _texts(value: Any, place: str) -> Any:
    if not isinstance(value, dict) or not value or not all(isinstance(text, str) for text in value.values()):
        raise _wrong(place, "an object of parameter names and their values as text", value)
    return value


def _body(value: Any, place: str) -> Any:
    if not isinstance(value, dict | str):
        raise _wrong(place, "an object, or text as it is", value)
    return value


def _one_or_more(kind: Kind) -> Kind:
    def check(value: Any, place: str) -> Any:
        if not isinstance(value, list):
            return (kind(value, place),)
        if not value:
            raise _wrong(place, "one or a list of at least one", value)
        return tuple(kind(one, f"{place}[{number}]") for number, one in enumerate(value))

    return check


def _entries(kind: Kind) -> Kind:
    def check(value: Any, place: str) -> Any:
        if not isinstance(value, list):
            raise _wrong(place, "a list of objects", value)
        return tuple(kind(one, f"{place}[{number}]") for number, one in enumerate(value))

    return check


def _record(kinds: Mapping[str, Kind], *needed: str) -> Kind:
    def check(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(place, f"an object with {', '.join(kinds)}", value)
        inside = "" if place == _WHOLE_PLAN else f"{place}."
        for name in value:
            if name not in kinds:
                raise invalid(f"{inside}{name}: there is no such member; known are {', '.join(kinds)}", param=place)
        for name in needed:
            if name not in value:
                raise invalid(f"{place}: {name} is missing; needed are {', '.join(needed)}", param=place)
        return {name: kinds[name](one, f"{inside}{name}") for name, one in value.items()}

    return check


def _request(value: Any, place: str) -> Any:
    read = _record(_REQUEST, "operation", "fault")(value, place)
    fault = read.pop("fault")
    for name, owner in _ONLY_OF.items():
        if name in read and fault != owner:
            raise invalid(f"{place}.{name}: only the fault {owner} has it, not {fault}", param=place)
    if "nth" in read and "probability" in read:
        raise invalid(f"{place}: nth or probability, not both", param=place)
    played, named = _PLAYED.get(fault, (*MOVES_MONEY, "look_up")), read.pop("operation")
    for operation in named:
        if operation != "*" and operation not in played:
            raise invalid(f"{place}.fault: {fault} is only for {', '.join(played)}, not {operation}", param=place)
    every = tuple(one for one in MOVES_MONEY if one in played) if "*" in named else ()
    return RequestFault(
        place,
        (*named, *every),
        fault,
        attempts=read.pop("attempt", ()),
        numbers=read.pop("nth", ()),
        **{name: read.pop(name) for name in ("probability", "match", "times") if name in read},
        how=read,
    )


def _happening(value: Any, place: str) -> Any:
    read = _record(_HAPPENING, "after", "happening")(value, place)
    after, name = read.pop("after"), read.pop("happening")
    _one_of(*_HAPPENINGS[after])(name, f"{place}.happening")
    for member, owners in _HAPPENS_WITH.items():
        if member in read and name not in owners:
            raise invalid(f"{place}.{member}: only of {' and '.join(owners)}, not of {name}", param=place)
    words = {word: read.pop(word) for word in ("code", "reason") if word in read}
    return PlannedHappening(place, after, name, why=words, **read)


def _decision(value: Any, place: str) -> Any:
    return Decision(**{"seconds": 0.0, **_record(_DECISION, "status")(value, place)})


def _event_chance(usual: EventChance, *more: str) -> Kind:
    kinds = {name: _EVENT[name] for name in ("probability", *more)}

    def check(value: Any, place: str) -> Any:
        if not isinstance(value, dict):
            return EventChance(_probability(value, place), usual.times, usual.seconds)
        read = _record(kinds, "probability")(value, place)
        return EventChance(read["probability"], read.get("times", usual.times), read.get("seconds", usual.seconds))

    return check


_probability = _number(0, 1)
_times = _whole(1, 10**9)
_EVENT: Final[Mapping[str, Kind]] = {
    "probability": _probability,
    "times": _whole(2, 100),
    "seconds": _number(0, _LONGEST_WHILE),
}
_DECISION: Final[Mapping[str, Kind]] = {"status": _one_of(*DECISIONS), "seconds": _number(0, _LONGEST_WHILE)}
_REQUEST: Final[Mapping[str, Kind]] = {
    "operation": _one_or_more(_one_of(*MOVES_MONEY, "look_up", "*")),
    "fault": _one_of(*FAULTS),
    "probability": _probability,
    "attempt": _one_or_more(_times),
    "nth": _one_or_more(_times),
    "match": _texts,
    "times": _times,
    "seconds": _number(0, _LONGEST_DELAY),
    "code": _word,
    "retry_after": _whole(0, _LONGEST_DELAY),
    "status": _whole(200, 599),
    "body": _body,
}
_HAPPENING: Final[Mapping[str, Kind]] = {
    "after": _one_of(*_HAPPENINGS),
    "happening": _one_of(*(name for names in _HAPPENINGS.values() for name in names)),
    "probability": _probability,
    "times": _times,
    "seconds": _number(0, _LONGEST_WHILE),
    "share": _share,
    "code": _word,
    "reason": _word,
    "decide": _decision,
}
_WEBHOOKS: Final[Mapping[str, Kind]] = {
    "lost": _event_chance(EventChance()),
    "duplicate": _event_chance(EventChance(), "times", "seconds"),
    "late": _event_chance(EventChance(seconds=5.0), "seconds"),
    "out_of_order": _event_chance(EventChance(seconds=5.0), "seconds"),
}
_PLAN: Final[Mapping[str, Kind]] = {
    "seed": _whole(-(2**63), 2**63 - 1),
    "requests": _entries(_request),
    "happenings": _entries(_happening),
    "webhooks": _record(_WEBHOOKS),
    "forget_keys_after_seconds": _number(0, _LONGEST_WHILE),
}
