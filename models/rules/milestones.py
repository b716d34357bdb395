"""Submitting, withdrawing, approving, rejecting and reversing a milestone."""

from models import divisions
from models.commands import (
    ApproveMilestone,
    RejectMilestone,
    ReverseMilestone,
    SubmitMilestone,
    WithdrawSubmission,
)
from models.decision import Case, Decision
from models.errors import ErrorCode, RefusedError
from models.escrow import OPEN_MILESTONE, RELEASED_MILESTONE, Deadline, Escrow, Milestone
from models.rules import clawbacks
from models.rules.admission import MILESTONE_EVENTS, refuse_transition
from models.settling import fee_steps, held_rest, settle
from models.states import TRANSITIONS, Event, MilestoneStatus, State


def named(escrow: Escrow, identifier: str) -> Milestone:
    """The milestone, or a refusal that lists the escrow's own."""
    milestone = escrow.milestone(identifier)
    if milestone is None:
        raise RefusedError(
            ErrorCode.NOT_FOUND,
            f"this escrow has no milestone {identifier}",
            milestones=[milestone.id for milestone in escrow.milestones],
        )
    return milestone


def check_submit(escrow: Escrow, command: SubmitMilestone) -> None:
    """Only work that lies with the seller can be submitted, with evidence where the policy asks for it."""
    _refuse_status(escrow, command.milestone, MILESTONE_EVENTS[Event.SUBMIT_MILESTONE], Event.SUBMIT_MILESTONE)
    if escrow.release.evidence_required and not command.evidence:
        raise RefusedError(ErrorCode.EVIDENCE_REQUIRED, "the release policy asks for evidence with every submission")


def check_review(escrow: Escrow, command: ApproveMilestone | RejectMilestone) -> None:
    """Only a submitted milestone can be approved or rejected."""
    event = Event(command.name)
    _refuse_status(escrow, command.milestone, MILESTONE_EVENTS[event], event)


def check_withdraw(escrow: Escrow, command: WithdrawSubmission) -> None:
    """Only what is under review can be withdrawn."""
    _refuse_status(escrow, command.milestone, frozenset({MilestoneStatus.SUBMITTED}), command.name)


def check_reverse(escrow: Escrow, command: ReverseMilestone) -> None:
    """What is held for the milestone can be reversed, or after its release what was not taken back yet."""
    milestone = _refuse_status(escrow, command.milestone, OPEN_MILESTONE | RELEASED_MILESTONE, "reverse_milestone")
    if milestone.status in RELEASED_MILESTONE:
        clawbacks.check(escrow, milestone, command.amount)
        return
    if not escrow.held:
        refuse_transition(escrow, command.name)
    if command.amount > milestone.remaining:
        raise RefusedError(
            ErrorCode.REFUND_AMOUNT_MISMATCH,
            f"{escrow.money(command.amount)} is more than the {escrow.money(milestone.remaining)} "
            "that this milestone still holds",
            refundable=milestone.remaining,
        )


def submit(case: Case, command: SubmitMilestone) -> Decision:
    """Start a new round of review; under mode ``auto`` the system approves when the window ends."""
    milestone = named(case.escrow, command.milestone)
    generation = milestone.generation + 1
    case.change_milestone(
        milestone.id,
        status=MilestoneStatus.SUBMITTED,
        generation=generation,
        evidence=command.evidence,
        rejection=None,
    )
    case.schedule(review_deadlines(case, milestone.id, generation))
    case.emit("milestone.submitted", milestone=milestone.id, generation=generation)
    return case.decision(next_state(case.escrow, Event.SUBMIT_MILESTONE))


def review_deadlines(case: Case, milestone: str, generation: int) -> list[Deadline]:
    """The reminders and the approval that silence means, counted from now; none while a chargeback is open."""
    policy = case.escrow.release
    if policy.mode == "manual" or case.escrow.open_chargeback:
        return []
    moments = [("remind", reminder) for reminder in policy.reminders] + [("auto_approve", policy.review_window)]
    return [
        Deadline(
            id=case.id("dln", milestone, kind, str(index)),
            kind="auto_approve" if kind == "auto_approve" else "remind",
            milestone=milestone,
            generation=generation,
            due_at=case.now + wait,
        )
        for index, (kind, wait) in enumerate(moments)
    ]


def withdraw(case: Case, command: WithdrawSubmission) -> Decision:
    """Take a submission back as if it had not been made: the clock stops, and the next one is a new round."""
    milestone = named(case.escrow, command.milestone)
    status = MilestoneStatus.REJECTED if milestone.rejections else MilestoneStatus.PENDING
    case.change_milestone(milestone.id, status=status, evidence=())
    case.stop_clock({milestone.id})
    case.emit("milestone.withdrawn", milestone=milestone.id)
    return case.decision(next_state(case.escrow, Event.REJECT_MILESTONE))


def approve(case: Case, command: ApproveMilestone) -> Decision:
    """Release the milestone: 150000 at 10 % gives 135000 to the seller and 15000 to the platform."""
    return release(case, named(case.escrow, command.milestone), "milestone.approved")


def release(case: Case, milestone: Milestone, event: str) -> Decision:
    """Release what remains of a milestone, by the buyer's word or by silence."""
    escrow = case.escrow
    total, fee = escrow.money(milestone.remaining), case.fee("release")
    case.end_milestones((milestone,), MilestoneStatus.APPROVED)
    case.emit(event, milestone=milestone.id, amount=total.amount)
    added = escrow.money(escrow.surcharge)
    division = divisions.release(total, fee, added, last=held_rest(escrow, total))
    settle(case, "release", division, fee, total, milestones=(milestone.id,), steps=fee_steps(fee, total, added))
    return case.decision(end_or(case, Event.APPROVE_MILESTONE))


def reject(case: Case, command: RejectMilestone) -> Decision:
    """Return the milestone to the seller; the clock stops."""
    rounds = named(case.escrow, command.milestone).rejections + 1
    case.change_milestone(
        command.milestone, status=MilestoneStatus.REJECTED, rejection=command.reason, rejections=rounds
    )
    case.stop_clock({command.milestone})
    case.emit("milestone.rejected", milestone=command.milestone, reason=command.reason)
    return case.decision(next_state(case.escrow, Event.REJECT_MILESTONE))


def reverse(case: Case, command: ReverseMilestone) -> Decision:
    """Return a part before release: 50000 of 100000 at 10 % takes 5000 of pending fee and 45000 of pending earnings.

    The original amount stays on record; a later release covers what remains. A milestone that is reversed whole
    has nothing left to release and is ``refunded``. After its release it is a clawback.
    """
    milestone, escrow = named(case.escrow, command.milestone), case.escrow
    if milestone.status in RELEASED_MILESTONE:
        return clawbacks.claw_back(case, milestone, escrow.money(command.amount), command.reason)
    returned, before = escrow.money(command.amount), escrow.money(milestone.reversed)
    fee = case.fee("reversal")
    projection = divisions.projection(escrow.money(milestone.remaining), returned, case.fee("release"))
    case.change_milestone(milestone.id, reversed=milestone.reversed + returned.amount)
    case.emit("milestone.reversed", milestone=milestone.id, amount=returned.amount, reason=command.reason)
    steps = (*fee.steps(before + returned), f"less {fee.on(before).amount} taken when {before.amount} went back before")
    unused = escrow.money(escrow.surcharge if held_rest(escrow, returned) else 0)
    division = divisions.reversal(before, returned, fee, unused)
    settle(case, "reversal", division, fee, returned, milestones=(milestone.id,), projection=projection, steps=steps)
    if returned.amount == milestone.remaining:
        case.end_milestones((milestone,), MilestoneStatus.REFUNDED)
    return case.decision(_state_after_reversal(case))


def _state_after_reversal(case: Case) -> State:
    """Stay, unless the milestone under review is gone, or with it the last held unit."""
    escrow = case.escrow
    if not escrow.refundable:
        anything_released = any(one.status in RELEASED_MILESTONE for one in escrow.milestones)
        ended = State.COMPLETED if anything_released else State.CANCELLED
        case.emit(f"escrow.{ended}")
        return ended
    if escrow.state == State.MILESTONE_PENDING and not _under_review(escrow):
        return State.IN_PROGRESS
    return escrow.state


def end_or(case: Case, event: Event) -> State:
    """Where the escrow goes after money left it: it completes by itself when the last held unit is gone."""
    if case.escrow.refundable:
        return next_state(case.escrow, event)
    case.emit("escrow.completed")
    return State.COMPLETED


def next_state(escrow: Escrow, event: Event) -> State:
    """The table's target; but while any milestone is under review the escrow is ``milestone_pending``."""
    target = TRANSITIONS[escrow.state][event]
    if target != State.DISPUTED and _under_review(escrow):
        return State.MILESTONE_PENDING
    return target


def _under_review(escrow: Escrow) -> bool:
    return any(milestone.status == MilestoneStatus.SUBMITTED for milestone in escrow.milestones)


def _refuse_status(escrow: Escrow, identifier: str, legal: frozenset[MilestoneStatus], event: Event | str) -> Milestone:
    milestone = named(escrow, identifier)
    if milestone.status not in legal:
        refuse_transition(escrow, event, milestone)
    return milestone
