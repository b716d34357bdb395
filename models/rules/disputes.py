"""Disputes: the freeze, the review, and the five ways out. Source: domain.md, section 8."""

from typing import Final

from models import divisions, postings
from models.commands import Command, RaiseDispute, ResolveDispute, ReviewDispute
from models.decision import Case, Decision, SettlementOutcome
from models.divisions import Division
from models.errors import ErrorCode, RefusedError
from models.escrow import OPEN_MILESTONE, Dispute, Escrow, Milestone
from models.fees import Fee, find_fee
from models.money import Money
from models.postings import AccountKind
from models.rules.admission import open_milestones, refuse_resolver, refuse_transition
from models.rules.milestones import named, next_state
from models.states import DisputeStatus, Event, MilestoneStatus, State

# What each resolution asks for beside the details.
_ARGUMENT: Final = {"partial_refund": "refund_amount", "split": "seller_share"}


def check_raise(escrow: Escrow, command: RaiseDispute) -> None:
    """A dispute needs held money; a named milestone must still hold its own."""
    if len(set(command.milestones)) != len(command.milestones):
        raise RefusedError(ErrorCode.INVALID_COMMAND, "a milestone is named twice")
    for identifier in command.milestones:
        milestone = named(escrow, identifier)
        if milestone.status not in OPEN_MILESTONE:
            refuse_transition(escrow, Event.DISPUTE, milestone)


def raise_dispute(case: Case, command: RaiseDispute) -> Decision:
    """Freeze the covered money in the same transaction: M2 of 200000 moves from escrow_hold to disputed_funds.

    Without milestones all that is held is covered, also what no milestone claims.
    """
    escrow = case.escrow
    covered = tuple(named(escrow, one) for one in command.milestones) or open_milestones(escrow)
    amount = sum(milestone.remaining for milestone in covered) if command.milestones else escrow.held
    dispute = Dispute(
        id=case.id("dsp"),
        raised_by=command.actor.role if command.actor.role in {"buyer", "seller"} else "operator",
        reason=command.reason,
        description=command.description,
        evidence=command.evidence,
        milestones=tuple(milestone.id for milestone in covered),
        amount=amount,
        came_from=escrow.state,
    )
    case.end_milestones(covered, MilestoneStatus.DISPUTED)
    case.post(postings.freeze(escrow.id, escrow.money(amount)))
    case.change(disputes=(*escrow.disputes, dispute), held=escrow.held - amount, disputed=escrow.disputed + amount)
    case.emit("dispute.opened", dispute=dispute.id, amount=amount, milestones=list(dispute.milestones))
    return case.decision(State.DISPUTED)


def check_review(escrow: Escrow, command: ReviewDispute) -> None:
    """Only an open dispute can be taken, and not by one of its parties."""
    refuse_resolver(escrow, command.actor)
    _refuse_status(escrow, command, command.dispute, DisputeStatus.OPEN)


def review(case: Case, command: ReviewDispute) -> Decision:
    """An operator takes the dispute; no money moves."""
    _change(case, command.dispute, status=DisputeStatus.UNDER_REVIEW)
    return case.emit("dispute.under_review", dispute=command.dispute).decision(case.escrow.state)


def check_resolve(escrow: Escrow, command: ResolveDispute) -> None:
    """Resolving requires a review, a judge who is no party, and exactly the argument the resolution needs."""
    refuse_resolver(escrow, command.actor)
    dispute = _refuse_status(escrow, command, command.dispute, DisputeStatus.UNDER_REVIEW)
    for resolution, argument in _ARGUMENT.items():
        given = getattr(command, argument) is not None
        if given != (command.resolution == resolution):
            rule = "needs" if not given else "does not take"
            raise RefusedError(ErrorCode.INVALID_COMMAND, f"resolution {command.resolution} {rule} {argument}")
    if command.refund_amount is not None and command.refund_amount >= dispute.amount:
        raise RefusedError(
            ErrorCode.REFUND_AMOUNT_MISMATCH,
            f"a partial refund must be less than the {escrow.money(dispute.amount)} in dispute; "
            "for all of it resolve buyer_favor",
            refundable=dispute.amount,
        )


def resolve(case: Case, command: ResolveDispute) -> Decision:
    """Unfreeze by the resolution: split of 200000 at 10 % and 0.7 is 20000 / 126000 / 54000."""
    dispute = next(dispute for dispute in case.escrow.disputes if dispute.id == command.dispute)
    covered = tuple(named(case.escrow, identifier) for identifier in dispute.milestones)
    _change(
        case,
        dispute.id,
        status=DisputeStatus.RESOLVED,
        resolution=command.resolution,
        details=command.details,
        resolved_by=str(command.actor),
    )
    case.emit("dispute.resolved", dispute=dispute.id, resolution=command.resolution)
    if command.resolution == "mediation":
        return _back_to_work(case, dispute, covered)
    total = case.escrow.money(dispute.amount)
    outcome, division, fee, base = _divide(case, command, total)
    to_seller = outcome != "refund" and command.seller_share != 0
    case.end_milestones(covered, MilestoneStatus.APPROVED if to_seller else MilestoneStatus.REFUNDED)
    case.settle(
        outcome, division, fee, fee.steps(base),
        source=AccountKind.DISPUTED_FUNDS, milestones=dispute.milestones, dispute=dispute.id,
    )  # fmt: skip
    return case.decision(_state_after(case, dispute, command.resolution))


def _divide(case: Case, command: ResolveDispute, total: Money) -> tuple[SettlementOutcome, Division, Fee, Money]:
    """The division a resolution asks for, its fee, and the amount the fee is taken on.

    A partial refund releases what it does not return, so it pays the release fee on that part.
    """
    policies, category = case.policies, case.escrow.category
    if command.resolution == "buyer_favor":
        fee = find_fee(policies, "refund", category)
        return "refund", divisions.refund(total, fee), fee, total
    if command.resolution == "split" and command.seller_share is not None:
        fee = find_fee(policies, "split", category)
        return "split", divisions.split(total, fee, command.seller_share), fee, total
    fee = find_fee(policies, "release", category)
    if command.refund_amount is not None:
        returned = Money(command.refund_amount, total.currency)
        return "partial_refund", divisions.partial_refund(total, fee, returned), fee, total - returned
    return "release", divisions.release(total, fee), fee, total


def _back_to_work(case: Case, dispute: Dispute, covered: tuple[Milestone, ...]) -> Decision:
    """Mediation: the money is held again and the work returns to the seller, who may submit it once more."""
    escrow = case.escrow
    for milestone in covered:
        submitted_before = milestone.generation > 0
        status = MilestoneStatus.REJECTED if submitted_before else MilestoneStatus.PENDING
        case.change_milestone(milestone.id, status=status)
    case.post(postings.unfreeze(escrow.id, escrow.money(dispute.amount)))
    case.change(held=escrow.held + dispute.amount, disputed=escrow.disputed - dispute.amount)
    return case.decision(_state_after(case, dispute, "mediation"))


def _state_after(case: Case, dispute: Dispute, resolution: str) -> State:
    """Back to where it came from, ``in_progress`` when nothing is under review; over when no unit is left."""
    escrow = case.escrow
    if escrow.refundable:
        target = next_state(escrow, Event.RESOLVE_DISPUTE)
        work_began_meanwhile = dispute.came_from == State.FUNDED and any(one.generation for one in escrow.milestones)
        if State.MILESTONE_PENDING in {target, dispute.came_from} or work_began_meanwhile:
            return target
        return dispute.came_from
    state = State.REFUNDED if resolution == "buyer_favor" else State.COMPLETED
    case.emit(f"escrow.{state}")
    return state


def _change(case: Case, identifier: str, **fields: object) -> None:
    case.change(
        disputes=tuple(
            dispute.model_copy(update=fields) if dispute.id == identifier else dispute
            for dispute in case.escrow.disputes
        )
    )


def _refuse_status(escrow: Escrow, command: Command, identifier: str, legal: DisputeStatus) -> Dispute:
    dispute = next((dispute for dispute in escrow.disputes if dispute.id == identifier), None)
    if dispute is None:
        raise RefusedError(
            ErrorCode.NOT_FOUND,
            f"this escrow has no dispute {identifier}",
            disputes=[dispute.id for dispute in escrow.disputes],
        )
    if dispute.status != legal:
        raise RefusedError(
            ErrorCode.INVALID_TRANSITION,
            f"{command.name} needs a dispute that is {legal}; this one is {dispute.status}",
            state=str(escrow.state),
            event=command.name,
            dispute_status=str(dispute.status),
            allowed=_possible(dispute),
        )
    return dispute


def _possible(dispute: Dispute) -> list[str]:
    steps = {DisputeStatus.OPEN: ["review_dispute"], DisputeStatus.UNDER_REVIEW: ["resolve_dispute"]}
    return steps.get(dispute.status, [])
