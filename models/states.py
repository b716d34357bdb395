"""The state machine of an escrow, as data. Everything that lists states or legal moves derives from this table.

Source: domain.md, section 3.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where an escrow stands."""

    CREATED = "created"
    FUNDED = "funded"
    IN_PROGRESS = "in_progress"
    MILESTONE_PENDING = "milestone_pending"
    MILESTONE_APPROVED = "milestone_approved"
    COMPLETED = "completed"
    DISPUTED = "disputed"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


class Event(StrEnum):
    """What moves an escrow from one state to another."""

    FUND = "fund"
    START_WORK = "start_work"
    SUBMIT_MILESTONE = "submit_milestone"
    APPROVE_MILESTONE = "approve_milestone"
    REJECT_MILESTONE = "reject_milestone"
    COMPLETE = "complete"
    DISPUTE = "dispute"
    RESOLVE_DISPUTE = "resolve_dispute"
    CANCEL = "cancel"
    REFUND = "refund"


class MilestoneStatus(StrEnum):
    """Where a milestone stands. ``approved`` is released in the ledger, ``paid`` is confirmed by the gateway."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    APPROVED = "approved"
    PAID = "paid"
    REJECTED = "rejected"
    DISPUTED = "disputed"
    REFUNDED = "refunded"
    CANCELLED = "cancelled"


class DisputeStatus(StrEnum):
    """Where a dispute stands."""

    OPEN = "open"
    UNDER_REVIEW = "under_review"
    RESOLVED = "resolved"
    CLOSED = "closed"


class PayoutStatus(StrEnum):
    """Where a payout stands. ``unknown``: the gateway has not told yet, and the money waits in transit.

    ``returned``: it was paid and came back; ``cancelled``: nothing was left to send, all of it was owed or taken back.
    """

    DUE = "due"
    IN_TRANSIT = "in_transit"
    UNKNOWN = "unknown"
    PAID = "paid"
    FAILED = "failed"
    RETURNED = "returned"
    CANCELLED = "cancelled"


class ChargebackStatus(StrEnum):
    """Where a contested charge stands with the payer's bank."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


# Resolving leads back to where the dispute came from; the row names the usual case, ``models.rules.disputes`` the rest.
TRANSITIONS: Final = MappingProxyType(
    {
        State.CREATED: {Event.FUND: State.FUNDED, Event.CANCEL: State.CANCELLED},
        State.FUNDED: {
            Event.START_WORK: State.IN_PROGRESS,
            Event.CANCEL: State.CANCELLED,
            Event.REFUND: State.REFUNDED,
            Event.DISPUTE: State.DISPUTED,
        },
        State.IN_PROGRESS: {
            Event.SUBMIT_MILESTONE: State.MILESTONE_PENDING,
            Event.COMPLETE: State.COMPLETED,
            Event.DISPUTE: State.DISPUTED,
            Event.CANCEL: State.CANCELLED,
        },
        State.MILESTONE_PENDING: {
            Event.APPROVE_MILESTONE: State.MILESTONE_APPROVED,
            Event.REJECT_MILESTONE: State.IN_PROGRESS,
            Event.SUBMIT_MILESTONE: State.MILESTONE_PENDING,
            Event.DISPUTE: State.DISPUTED,
        },
        State.MILESTONE_APPROVED: {
            Event.SUBMIT_MILESTONE: State.MILESTONE_PENDING,
            Event.COMPLETE: State.COMPLETED,
            Event.DISPUTE: State.DISPUTED,
            Event.CANCEL: State.CANCELLED,
        },
        State.DISPUTED: {
            Event.RESOLVE_DISPUTE: State.IN_PROGRESS,
            Event.REFUND: State.REFUNDED,
            Event.COMPLETE: State.COMPLETED,
            Event.SUBMIT_MILESTONE: State.DISPUTED,
            Event.APPROVE_MILESTONE: State.DISPUTED,
            Event.REJECT_MILESTONE: State.DISPUTED,
        },
        State.COMPLETED: {},
        State.CANCELLED: {},
        State.REFUNDED: {},
    }
)

TERMINAL: Final = frozenset(state for state, moves in TRANSITIONS.items() if not moves)


def mermaid() -> str:
    """Draw the table as a Mermaid state diagram; the documentation shows exactly this text."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.CREATED}"]
    for state, moves in TRANSITIONS.items():
        lines += [f"    {state} --> {target}: {event}" for event, target in moves.items()]
    lines += [f"    {state} --> [*]" for state in State if state in TERMINAL]
    return "\n".join(lines)
