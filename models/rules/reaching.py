"""What the escrow does by itself when one of its deadlines has come."""

from models.commands import ReachDeadline
from models.decision import Case, Decision
from models.escrow import Escrow
from models.rules import disputes, milestones, payouts
from models.rules.admission import refuse_transition


def check_deadline(escrow: Escrow, command: ReachDeadline) -> None:
    """A deadline that was superseded does nothing."""
    if not any((one.id, one.generation) == (command.deadline, command.generation) for one in escrow.deadlines):
        refuse_transition(escrow, command.name)


def reach_deadline(case: Case, command: ReachDeadline) -> Decision:
    """Remind the buyer or approve in the buyer's silence, end a dispute nobody acts in, look at a payout again."""
    deadline = next(deadline for deadline in case.escrow.deadlines if deadline.id == command.deadline)
    case.change(deadlines=tuple(other for other in case.escrow.deadlines if other.id != deadline.id))
    if deadline.dispute is not None:
        return disputes.default(case, deadline.dispute)
    if deadline.payout is not None:
        act = payouts.look_again if deadline.kind == "pay_out" else payouts.send_again
        return act(case, deadline.payout)
    milestone = milestones.named(case.escrow, deadline.milestone or "")
    if deadline.kind == "remind":
        return case.emit("milestone.reminder_due", milestone=milestone.id).decision(case.escrow.state)
    return milestones.release(case, milestone, "milestone.auto_approved")
