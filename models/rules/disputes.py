"""Disputes: the freeze, both sides' word, the review, and the ways out. Source: domain.md, section 8."""

from datetime import timedelta
from decimal import Decimal
from typing import Final

from models import divisions, postings
from models.commands import AddEvidence, CloseDispute, Command, RaiseDispute, ResolveDispute, ReviewDispute
from models.decision import Case, Decision, SettlementOutcome
from models.dispute_fees import DisputeCharge, assess, with_dispute_fee
from models.divisions import Division
from models.errors import ErrorCode, RefusedError
from models.escrow import OPEN_MILESTONE, Answer, Deadline, Dispute, Escrow, Milestone
from models.fees import Fee
from models.money import Money
from models.rules.admission import open_milestones, refuse_resolver, refuse_transition
from models.rules.milestones import named, next_state
from models.settling import fee_steps, refuse_contested, settle
from models.states import DisputeStatus, Event, MilestoneStatus, State

# What each resolution asks for beside the details.
_ARGUMENT: Final = {"partial_refund": "refund_amount", "split": "seller_share"}
_OPEN: Final = frozenset({DisputeStatus.OPEN, DisputeStatus.UNDER_REVIEW})
_BY_DEFAULT: Final = "nobody acted before the response window ended"


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

    Without milestones all that is held is covered, also what no milestone claims. What the buyer added for the fees is
    one purse for all of them: it is frozen with the last of the deal's money, and held as long as other work goes on.
    A seller whose work was sent back too often gets a review at once.
    """
    refuse_contested(case)
    escrow = case.escrow
    covered = tuple(named(escrow, one) for one in command.milestones) or open_milestones(escrow)
    amount = sum(milestone.remaining for milestone in covered) if command.milestones else escrow.principal
    surcharge = escrow.surcharge if amount == escrow.principal else 0
    dispute = Dispute(
        id=case.id("dsp"),
        raised_by=command.actor.role if command.actor.role in {"buyer", "seller"} else "operator",
        reason=command.reason,
        description=command.description,
        evidence=command.evidence,
        milestones=tuple(milestone.id for milestone in covered),
        amount=amount,
        surcharge=surcharge,
        status=DisputeStatus.UNDER_REVIEW if _starts_in_review(escrow, command, covered) else DisputeStatus.OPEN,
        came_from=escrow.state,
    )
    frozen = amount + surcharge
    case.end_milestones(covered, MilestoneStatus.DISPUTED)
    case.post(postings.freeze(escrow.id, escrow.money(frozen)))
    case.change(
        disputes=(*escrow.disputes, dispute),
        held=escrow.held - frozen,
        surcharge=escrow.surcharge - surcharge,
        disputed=escrow.disputed + frozen,
    )
    case.emit("dispute.opened", dispute=dispute.id, amount=amount, milestones=list(dispute.milestones))
    restart_clock(case, dispute.id)
    return case.decision(State.DISPUTED)


def _starts_in_review(escrow: Escrow, command: RaiseDispute, covered: tuple[Milestone, ...]) -> bool:
    """The buyer rejects for ever: after the policy's number of rounds the seller's dispute needs no one to take it."""
    limit = escrow.release.max_rejections
    return command.actor.role == "seller" and any(milestone.rejections >= limit for milestone in covered)


def restart_clock(case: Case, dispute: str) -> None:
    """An answer or a review gives everybody the whole window again; while a bank decides, none runs."""
    case.drop_deadlines(dispute=dispute)
    if case.escrow.open_chargeback:
        return
    window: timedelta = case.policies.dispute.response_window
    identifier = case.id("dln", dispute)
    case.schedule(
        [Deadline(id=identifier, kind="default_dispute", dispute=dispute, generation=0, due_at=case.now + window)]
    )


def check_evidence(escrow: Escrow, command: AddEvidence) -> None:
    """A dispute takes evidence until it is resolved; an answer says something."""
    _refuse_status(escrow, command, command.dispute, _OPEN)
    if command.statement is None and not command.evidence:
        raise RefusedError(ErrorCode.INVALID_COMMAND, "nothing was added: give a statement, evidence, or both")


def add_evidence(case: Case, command: AddEvidence) -> Decision:
    """Add one side's word to the file; with the first of each side the response window begins anew.

    Not with every one: whoever gains by waiting could add a word a day, and the dispute would last for ever.
    """
    dispute = _named(case.escrow, command.dispute)
    by = command.actor.role if command.actor.role in {"buyer", "seller"} else "operator"
    answer = Answer(by=by, at=case.now, statement=command.statement, evidence=command.evidence)
    change(case, dispute.id, answers=(*dispute.answers, answer))
    if all(earlier.by != by for earlier in dispute.answers):
        restart_clock(case, dispute.id)
    return case.emit("dispute.evidence_added", dispute=dispute.id, by=by).decision(case.escrow.state)


def check_review(escrow: Escrow, command: ReviewDispute) -> None:
    """Only an open dispute can be taken, and not by one of its parties."""
    refuse_resolver(escrow, command.actor)
    _refuse_status(escrow, command, command.dispute, frozenset({DisputeStatus.OPEN}))


def review(case: Case, command: ReviewDispute) -> Decision:
    """An operator takes the dispute; no money moves."""
    change(case, command.dispute, status=DisputeStatus.UNDER_REVIEW)
    restart_clock(case, command.dispute)
    return case.emit("dispute.under_review", dispute=command.dispute).decision(case.escrow.state)


def check_resolve(escrow: Escrow, command: ResolveDispute) -> None:
    """Resolving requires a review, a judge who is no party, and exactly the argument the resolution needs."""
    refuse_resolver(escrow, command.actor)
    dispute = _refuse_status(escrow, command, command.dispute, frozenset({DisputeStatus.UNDER_REVIEW}))
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
    dispute = _named(case.escrow, command.dispute)
    verdict = {"resolution": command.resolution, "details": command.details, "resolved_by": str(command.actor)}
    return _end(case, dispute, verdict, command.refund_amount, command.seller_share)


def default(case: Case, identifier: str) -> Decision:
    """Nobody has acted for the whole window: the policy's outcome takes effect, so that no dispute lasts for ever."""
    if _named(case.escrow, identifier).status not in _OPEN:
        return case.decision(case.escrow.state)
    outcome = case.policies.dispute.default_outcome
    case.emit("dispute.defaulted", dispute=identifier, resolution=outcome)
    verdict = {"resolution": outcome, "details": _BY_DEFAULT, "resolved_by": str(case.command.actor)}
    return _end(case, _named(case.escrow, identifier), verdict, None, None)


def _end(
    case: Case, dispute: Dispute, verdict: dict[str, str], refund_amount: int | None, seller_share: Decimal | None
) -> Decision:
    refuse_contested(case)
    resolution = verdict["resolution"]
    # Not those that a lost chargeback has taken meanwhile.
    named_once = (named(case.escrow, identifier) for identifier in dispute.milestones)
    covered = tuple(one for one in named_once if one.status == MilestoneStatus.DISPUTED)
    change(case, dispute.id, status=DisputeStatus.RESOLVED, **verdict)
    case.drop_deadlines(dispute=dispute.id)
    case.emit("dispute.resolved", dispute=dispute.id, resolution=resolution)
    if resolution == "mediation":
        return _back_to_work(case, dispute, covered)
    amount = case.escrow.money(dispute.amount)
    added = case.escrow.money(dispute.surcharge or case.escrow.surcharge)
    outcome, division, fee, priced = _divide(case, amount, resolution, (refund_amount, seller_share), added)
    to_seller = outcome != "refund" and seller_share != 0
    case.end_milestones(covered, MilestoneStatus.APPROVED if to_seller else MilestoneStatus.REFUNDED)
    steps = fee_steps(fee, priced, added)
    used = min(fee.parts(fee.on(priced))[0].amount, added.amount)
    unused = division.total - amount - case.escrow.money(used)
    division, charge, more = _with_dispute_fee(case, division, unused)
    settle(
        case, outcome, division, fee, amount, frozen=division.total if dispute.surcharge else amount,
        milestones=tuple(one.id for one in covered), dispute=dispute.id, dispute_charge=charge, steps=(*steps, *more),
    )  # fmt: skip
    return case.decision(_state_after(case, dispute, resolution))


def check_close(escrow: Escrow, command: CloseDispute) -> None:
    """Only what is resolved can be closed, and not by one of its parties."""
    refuse_resolver(escrow, command.actor)
    _refuse_status(escrow, command, command.dispute, frozenset({DisputeStatus.RESOLVED}))


def close(case: Case, command: CloseDispute) -> Decision:
    """Close the file; no money moves."""
    change(case, command.dispute, status=DisputeStatus.CLOSED)
    return case.emit("dispute.closed", dispute=command.dispute).decision(case.escrow.state)


def _divide(
    case: Case, total: Money, resolution: str, argument: tuple[int | None, Decimal | None], added: Money
) -> tuple[SettlementOutcome, Division, Fee, Money]:
    """The division a resolution asks for, its fee, and the amount the fee is taken on.

    A partial refund releases what it does not return, so it pays the release fee on that part. What the buyer added for
    the fees and nothing is left to use for goes back to the buyer.
    """
    refund_amount, seller_share = argument
    last = case.escrow.principal == 0
    if resolution == "buyer_favor":
        fee = case.fee("refund")
        return "refund", divisions.refund(total, fee, added if last else None), fee, total
    if seller_share is not None:
        fee = case.fee("split")
        return "split", divisions.split(total, fee, seller_share, added, last=last), fee, total
    fee = case.fee("release")
    if refund_amount is not None:
        returned = Money(refund_amount, total.currency)
        division = divisions.partial_refund(total, fee, returned, added, last=last)
        return "partial_refund", division, fee, total - returned
    return "release", divisions.release(total, fee, added, last=last), fee, total


def _with_dispute_fee(
    case: Case, division: Division, unused: Money
) -> tuple[Division, DisputeCharge | None, tuple[str, ...]]:
    """Take the policy's dispute fee from the share of the side that pays it.

    What the buyer had added for the fee and gets back was never argued about, so it does not make the buyer the winner.
    """
    fee = case.policies.fees.dispute_fee if case.policies.fees else None
    if fee is None:
        return division, None, ()
    charge = assess(fee, division, unused)
    taken = f"{charge.seller_taken.amount} from the seller, {charge.buyer_taken.amount} from the buyer"
    owed = f"{charge.seller_owed.amount} and {charge.buyer_owed.amount} are owed"
    return (
        with_dispute_fee(division, charge),
        charge,
        (f"dispute fee {fee.amount}, payer {fee.payer}: {taken}, {owed}",),
    )


def _back_to_work(case: Case, dispute: Dispute, covered: tuple[Milestone, ...]) -> Decision:
    """Mediation: the money is held again and the work returns to the seller, who may submit it once more."""
    escrow = case.escrow
    for milestone in covered:
        submitted_before = milestone.generation > 0
        status = MilestoneStatus.REJECTED if submitted_before else MilestoneStatus.PENDING
        case.change_milestone(milestone.id, status=status)
    frozen = dispute.amount + dispute.surcharge
    case.post(postings.unfreeze(escrow.id, escrow.money(frozen)))
    case.change(
        held=escrow.held + frozen,
        surcharge=escrow.surcharge + dispute.surcharge,
        disputed=escrow.disputed - frozen,
    )
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


def change(case: Case, identifier: str, **fields: object) -> None:
    """Replace fields of one dispute."""
    case.change(
        disputes=tuple(
            dispute.model_copy(update=fields) if dispute.id == identifier else dispute
            for dispute in case.escrow.disputes
        )
    )


def _named(escrow: Escrow, identifier: str) -> Dispute:
    dispute = next((dispute for dispute in escrow.disputes if dispute.id == identifier), None)
    if dispute is None:
        raise RefusedError(
            ErrorCode.NOT_FOUND,
            f"this escrow has no dispute {identifier}",
            disputes=[dispute.id for dispute in escrow.disputes],
        )
    return dispute


def _refuse_status(escrow: Escrow, command: Command, identifier: str, legal: frozenset[DisputeStatus]) -> Dispute:
    dispute = _named(escrow, identifier)
    if dispute.status not in legal:
        raise RefusedError(
            ErrorCode.INVALID_TRANSITION,
            f"{command.name} needs a dispute that is {' or '.join(sorted(legal))}; this one is {dispute.status}",
            state=str(escrow.state),
            event=command.name,
            dispute_status=str(dispute.status),
            allowed=_POSSIBLE[dispute.status],
        )
    return dispute


_POSSIBLE: Final = {
    DisputeStatus.OPEN: ["add_evidence", "review_dispute"],
    DisputeStatus.UNDER_REVIEW: ["add_evidence", "resolve_dispute"],
    DisputeStatus.RESOLVED: ["close_dispute"],
    DisputeStatus.CLOSED: [],
}
