"""Words for what happens in a deal: who does what, with which particulars."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from models.money import Money
from starter.deals.deal import Action
from starter.deals.written import BlockParty, MilestoneNumber, PayoutNumber, Written

# What is long, or free text, or nobody's business.
_SAID_ELSEWHERE: Final = frozenset(
    {"do", "actor", "expect", "payment_method", "reason", "description", "details", "statement", "because"}
    | {"name", "email", "language"}
)


def told(action: Action, currency: str) -> str:
    """One line: ``bob: submit_milestone 1``."""
    return f"{who(action)}: {what(action, currency)}" if action.actor else what(action, currency)


def who(action: Action) -> str:
    """The actor's name; nobody acts when time passes."""
    if action.actor is None:
        return ""
    return action.actor.party or action.actor.role


def what(action: Action, currency: str) -> str:
    """The action with what is short enough to stand beside it: ``resolve_dispute split 0.70``."""
    said = action.said
    names = (name for name in type(said).model_fields if name in said.model_fields_set - _SAID_ELSEWHERE)
    values = ((name, getattr(said, name)) for name in names)
    words = (name if isinstance(value, Written) else _short(value, currency) for name, value in values)
    does = "unblock_party" if isinstance(said, BlockParty) and said.because is None else action.do
    return " ".join((does, *filter(None, words)))


def amount(minor_units: int, currency: str) -> str:
    """Major units with grouping, without the currency: ``1,500.00``."""
    return str(Money(minor_units, currency)).rpartition(" ")[0]


def duration(time: timedelta) -> str:
    """``14 days``, ``36 hours``, ``90 seconds``."""
    seconds = int(time.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'s' if seconds != size else ''}"
    return f"{seconds} seconds"


def _short(value: Any, currency: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return amount(value, currency)
    if isinstance(value, MilestoneNumber | PayoutNumber):
        return str(value.number)
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, tuple):
        return " ".join(_short(one, currency) for one in value if isinstance(one, MilestoneNumber))
    if isinstance(value, Decimal) or (isinstance(value, str) and value.isidentifier()):
        return str(value)
    return ""
