"""Deadlines as commands: which one is due, and the system's command for it."""

from datetime import datetime, timedelta
from typing import Final

from models.commands import SYSTEM, ReachDeadline
from models.decision import Case, Decision
from models.errors import Refusal
from models.escrow import Deadline, Escrow

# A deadline that cannot take effect (no fee rule, say) asks again after this while, instead of spinning.
DEFERRAL: Final = timedelta(hours=1)


def due(escrow: Escrow, at: datetime) -> Deadline | None:
    """The first deadline that has come at that moment of the tenant's time."""
    deadline = escrow.next_deadline
    return deadline if deadline and deadline.due_at <= at else None


def reach(escrow: Escrow, deadline: Deadline, received_at: datetime | None = None) -> ReachDeadline:
    """The command for a deadline. Its id names the moment too, so that a deferred deadline gets another chance."""
    return ReachDeadline(
        id=f"~deadline:{deadline.id}:{int(deadline.due_at.timestamp())}",
        escrow=escrow.id,
        actor=SYSTEM,
        deadline=deadline.id,
        generation=deadline.generation,
        received_at=received_at,
    )


def defer(case: Case, deadline: Deadline, refusal: Refusal, asked_at: datetime) -> Decision:
    """Put off a deadline that was refused, and say why: a person has to look, nothing moves meanwhile.

    It counts from when it was asked for, not from when it was due: after an outage that is once, not once an hour.
    """
    later = deadline.model_copy(
        update={"due_at": asked_at + DEFERRAL, "deferred_because": f"{refusal.code}: {refusal.message}"}
    )
    others = tuple(other for other in case.escrow.deadlines if other.id != deadline.id)
    case.change(deadlines=(*others, later))
    case.emit("deadline.deferred", deadline=deadline.id, kind=deadline.kind, code=refusal.code)
    return case.decision(case.escrow.state)
