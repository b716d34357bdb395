"""The ways an escrow ends by command: completed, cancelled, refunded."""

from models import divisions
from models.commands import Cancel, Complete, Refund
from models.decision import Case, Decision
from models.errors import ErrorCode, RefusedError
from models.escrow import Escrow
from models.rules.admission import open_milestones
from models.settling import fee_steps, refuse_frozen, settle
from models.states import MilestoneStatus, State


def complete(case: Case, command: Complete) -> Decision:  # noqa: ARG001 - every rule has the same signature
    """The buyer releases all that is still held, whatever was submitted: one settlement over the whole rest."""
    escrow = case.escrow
    total, fee = escrow.money(escrow.principal), case.fee("release")
    milestones = open_milestones(escrow)
    case.end_milestones(milestones, MilestoneStatus.APPROVED)
    division = divisions.release(total, fee, escrow.money(escrow.surcharge))
    settle(
        case, "release", division, fee, total,
        milestones=tuple(milestone.id for milestone in milestones),
        steps=fee_steps(fee, total, escrow.money(escrow.surcharge)),
    )  # fmt: skip
    return case.emit("escrow.completed").decision(State.COMPLETED)


def cancel(case: Case, command: Cancel) -> Decision:
    """End the escrow. Exactly what is refundable returns; the seller keeps what was approved.

    Of 500000 with 150000 and 200000 approved, 150000 returns. Before funding nothing moves at all.
    """
    return_the_rest(case, MilestoneStatus.CANCELLED)
    return case.emit("escrow.cancelled", reason=command.reason).decision(State.CANCELLED)


def check_refund(escrow: Escrow, command: Refund) -> None:
    """A refund ends the escrow, so it returns exactly what is refundable. Source: domain.md, section 6."""
    if command.amount is not None and command.amount != escrow.refundable:
        raise RefusedError(
            ErrorCode.REFUND_AMOUNT_MISMATCH,
            f"the refund asks for {escrow.money(command.amount)}, refundable is {escrow.money(escrow.refundable)}; "
            "to return a part, reverse a milestone",
            refundable=escrow.refundable,
        )


def refund(case: Case, command: Refund) -> Decision:
    """Return everything before work starts."""
    return_the_rest(case, MilestoneStatus.REFUNDED)
    return case.emit("escrow.refunded", reason=command.reason).decision(State.REFUNDED)


def return_the_rest(case: Case, status: MilestoneStatus) -> None:
    """Give back all that is held, what the buyer added for the fee included, less the refund fee."""
    escrow = case.escrow
    milestones = open_milestones(escrow)
    case.end_milestones(milestones, status)
    if escrow.funded:
        refuse_frozen(case)
    if not escrow.held:
        return
    total, fee = escrow.money(escrow.principal), case.fee("refund")
    division = divisions.refund(total, fee, escrow.money(escrow.surcharge))
    settle(
        case, "refund", division, fee, total,
        milestones=tuple(milestone.id for milestone in milestones), steps=fee.steps(total),
    )  # fmt: skip
