"""What a fault plan says, and chance that is the same for the same load. The document's format: docs/sandbox.md.

Chance is a pure function: of the seed, the entry's place in the plan, the operation, what is asked for and how often it
was asked before. Neither the time nor the order of requests comes into it.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final

from starter.sandbox.faults import Fault, fitting
from starter.sandbox.wire import Params

MOVES_MONEY: Final = ("charge", "refund", "transfer", "cancel")
"""What ``*`` stands for."""


@dataclass(frozen=True)
class Asked:
    """One request. ``subject`` names what it is about, ``attempt`` counts how often that was asked, from 1."""

    operation: str
    subject: str
    attempt: int
    key: str | None
    params: Params


@dataclass(frozen=True)
class RequestFault:
    """One entry of ``requests``."""

    place: str
    operations: tuple[str, ...]
    fault: str
    probability: float = 1.0
    attempts: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    match: dict[str, str] = field(default_factory=dict)
    times: int | None = None
    how: dict[str, Any] = field(default_factory=dict)
    """What else a ``Fault`` may have: ``seconds``, ``code``, ``retry_after``, ``status``, ``body``."""

    def fits(self, asked: Asked) -> bool:
        """Whether this request may be meant: all conditions but number, times and chance."""
        if self.attempts and asked.attempt not in self.attempts:
            return False
        return asked.operation in self.operations and fitting(self.match, asked.key, asked.params)

    def made(self, operation: str) -> Fault:
        """The fault that the request meets."""
        return Fault(operation, self.fault, **self.how)


@dataclass(frozen=True)
class Decision:
    """How a bank decides a dispute, and how long after it was opened."""

    status: str
    seconds: float


@dataclass(frozen=True)
class PlannedHappening:
    """One entry of ``happenings``."""

    place: str
    after: str
    name: str
    probability: float = 1.0
    times: int | None = None
    seconds: float = 0.0
    share: float | None = None
    why: dict[str, str] = field(default_factory=dict)
    """``code`` of a failure, ``reason`` of a contest."""
    decide: Decision | None = None

    def possible(self, made: Params) -> bool:
        """Whether it can happen to the object that the operation made."""
        if self.after == "transfer":
            return True
        states = {"contest": ("succeeded",), "collect": ("processing",), "fail": ("succeeded", "processing")}
        return made["status"] in states[self.name]

    def amount(self, whole: int) -> int | None:
        """The part that comes back or is contested; ``None`` is the whole. Some currencies take only round amounts."""
        part = whole if self.share is None else int(whole * self.share) // 100 * 100
        return part if 0 < part < whole else None


@dataclass(frozen=True)
class EventChance:
    """How likely something happens to an event, how often it is posted then, and the seconds that it takes."""

    probability: float = 0.0
    times: int = 2
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A whole plan. The empty one lets everything go well."""

    seed: int = 0
    requests: tuple[RequestFault, ...] = ()
    happenings: tuple[PlannedHappening, ...] = ()
    webhooks: dict[str, EventChance] = field(default_factory=dict)
    forget_keys_after_seconds: float | None = None

    def chance(self, probability: float, place: str, *about: str | int) -> bool:
        """Whether chance comes up here."""
        return drawn(self.seed, place, *about) < probability


def drawn(seed: int, *about: str | int) -> float:
    """A number from 0 up to, but not including, 1 that depends on nothing but the arguments."""
    digest = hashlib.sha256(json.dumps([seed, *about]).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
