"""Webhooks without their sending: what is posted, who wants it, when it is tried again.

Source: http-contract.md; the Standard Webhooks specification (https://github.com/standard-webhooks/standard-webhooks).
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from models.notification_texts import EVENTS

MAX_BODY_BYTES: Final = 20_000
MAX_TYPES: Final = 50

# The wait before each attempt; after the last one the delivery has failed. Source: Standard Webhooks, "Deliverability".
SCHEDULE: Final = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
LONGEST_WAIT: Final = SCHEDULE[-1]
_JITTER_PER_MILLE: Final = 100  # waits are up to a tenth longer, so that what failed together does not come together

# An endpoint is left alone for a while when it fails repeatedly, whatever waits for it.
_PATIENCE: Final = 3
_LONGEST_REST: Final = timedelta(minutes=1)
_LONGEST_REST_ASKED_FOR: Final = timedelta(hours=1)

# An endpoint that failed every time for so long, and so often, is switched off.
GIVE_UP_AFTER: Final = timedelta(days=5)
GIVE_UP_FAILURES: Final = 5

# What of an event's data leaves the house: ids, amounts and codes. What people wrote stays: a reason may hold anything,
# also why somebody is blocked. A test holds these two lists against every event that the core emits.
PUBLISHED: Final = frozenset(
    {
        "amount", "by", "chargeback", "code", "command", "currency", "deadline", "dispute", "endpoint", "frozen",
        "generation", "hold", "kind", "milestone", "milestones", "name", "outcome", "party", "payout", "resolution",
        "settlement", "source", "total",
    }
)  # fmt: skip
WITHHELD: Final = frozenset({"reason"})

_PATTERN: Final = re.compile(r"\*|([a-z_]+)\.(\*|[a-z_]+)")

DisabledBecause = Literal["failing", "gone"]


@dataclass(frozen=True)
class TenantEvent:
    """An event as its tenant sees it. ``sequence`` counts the tenant's events without gaps; None: not counted yet."""

    id: str
    type: str
    sequence: int | None
    tenant: str
    live: bool
    escrow: str | None
    version: int
    data: Mapping[str, Any]
    occurred_at: datetime

    def document(self) -> dict[str, Any]:
        """The event as JSON, the same in the API and in a webhook: amounts in minor units, times in UTC."""
        return {
            "id": self.id,
            "type": self.type,
            "sequence": self.sequence,
            "timestamp": self.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "tenant": self.tenant,
            "livemode": self.live,
            "escrow": self.escrow,
            "version": self.version if self.escrow else None,
            "data": {key: value for key, value in self.data.items() if key in PUBLISHED},
        }

    def body(self) -> bytes:
        """What is posted: the same bytes at every attempt, fewer than 20 kB."""
        document = self.document()
        encoded = _json(document)
        return encoded if len(encoded) < MAX_BODY_BYTES else _json(document | {"data": {"truncated": True}})


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True).encode()


def check_types(types: Sequence[str]) -> tuple[str, ...]:
    """The types of events that an endpoint asks for: ``*``, ``payout.*`` or ``payout.paid``, each once, in order.

    Raises ``ValueError`` naming what is wrong, and what there is.
    """
    if not 1 <= len(types) <= MAX_TYPES:
        raise ValueError(f'expected 1 to {MAX_TYPES} types of events, or ["*"] for all of them')
    for one in types:
        found = _PATTERN.fullmatch(one)
        if found is None or not any(wanted(one, known) for known in EVENTS):
            families = ", ".join(sorted({f"{name.partition('.')[0]}.*" for name in EVENTS}))
            raise ValueError(f"there is no event {one[:100]!r}: expected *, one of {families}, or a single type")
    return tuple(dict.fromkeys(types))


def wanted(pattern: str, kind: str) -> bool:
    """Whether a pattern has a type. In SQL: the function ``wants``."""
    return pattern in {"*", kind, f"{kind.partition('.')[0]}.*"}


def wait_after(attempts: int, chance: int, retry_after: timedelta | None = None) -> timedelta | None:
    """How long to wait after so many attempts, all failed; None when that was the last one.

    ``chance`` is a random number from 0 to 999. What the receiver asked for counts if it is longer, up to a day.
    """
    if attempts >= len(SCHEDULE):
        return None
    usual = SCHEDULE[attempts]
    asked = min(retry_after or usual, LONGEST_WAIT)
    return max(usual, asked) + max(usual, asked) * (chance * _JITTER_PER_MILLE // 1000) // 1000


def rest_after(failures: int, retry_after: timedelta | None = None) -> timedelta:
    """How long an endpoint is left alone after so many failures in a row: what it asked for counts, up to an hour."""
    if retry_after is not None:
        return min(retry_after, _LONGEST_REST_ASKED_FOR)
    if failures < _PATIENCE:
        return timedelta(0)
    return min(timedelta(seconds=2 ** min(failures, 10)), _LONGEST_REST)


def is_hopeless(failures: int, failing_since: datetime, now: datetime) -> bool:
    """Whether an endpoint has failed for so long that it is switched off."""
    return failures >= GIVE_UP_FAILURES and now - failing_since >= GIVE_UP_AFTER
