"""Whether a command may be tried at all: who acts, on which version, from which state.

This part of the decision needs nothing but the snapshot, so a workflow's validators refuse with it too.
"""

from typing import Final, NoReturn

from models.commands import Actor, Command
from models.errors import ErrorCode, RefusedError
from models.escrow import OPEN_MILESTONE, Escrow, Milestone
from models.states import TRANSITIONS, Event, MilestoneStatus, State

PEOPLE = frozenset({"buyer", "seller"})
BEFORE_WORK = frozenset({State.CREATED, State.FUNDED})

# What a milestone must be for an event that is about it.
MILESTONE_EVENTS: Final = {
    Event.SUBMIT_MILESTONE: frozenset({MilestoneStatus.PENDING, MilestoneStatus.REJECTED}),
    Event.APPROVE_MILESTONE: frozenset({MilestoneStatus.SUBMITTED}),
    Event.REJECT_MILESTONE: frozenset({MilestoneStatus.SUBMITTED}),
}


def allowed_events(escrow: Escrow) -> list[str]:
    """The events that are legal now, in the table's order.

    Narrower than the table where it knows more: a milestone event needs a milestone in the right status, and in a
    dispute ``complete`` and ``refund`` happen only through its resolution.
    """
    return [event for event in TRANSITIONS[escrow.state] if _possible(escrow, event)]


def _possible(escrow: Escrow, event: Event) -> bool:
    if event in MILESTONE_EVENTS:
        return any(milestone.status in MILESTONE_EVENTS[event] for milestone in escrow.milestones)
    return escrow.state != State.DISPUTED or event == Event.RESOLVE_DISPUTE


def refuse_transition(escrow: Escrow, event: Event | str, milestone: Milestone | None = None) -> NoReturn:
    """Raise invalid_transition, naming the state, the event and what is allowed instead."""
    allowed = allowed_events(escrow)
    what = f"{event} is not possible while the escrow is {escrow.state}"
    details: dict[str, object] = {"state": str(escrow.state), "event": str(event), "allowed": allowed}
    if milestone is not None:
        what = f"{event} is not possible while milestone {milestone.position} is {milestone.status}"
        details |= {"milestone": milestone.id, "milestone_status": str(milestone.status)}
    raise RefusedError(
        ErrorCode.INVALID_TRANSITION, f"{what}; allowed now: {', '.join(allowed) or 'nothing'}", **details
    )


def refuse_actor(escrow: Escrow, actor: Actor, command: Command, roles: frozenset[str]) -> None:
    """Raise forbidden unless the actor has one of the roles and is that party of this escrow."""
    if actor.role not in roles:
        allowed = ", ".join(sorted(roles))
        raise _forbidden(f"{actor.role} may not {command.name}: that is for {allowed}", actor)
    if actor.role in PEOPLE and actor.party != getattr(escrow, actor.role):
        raise _forbidden(f"this party is not the {actor.role} of the escrow", actor)
    if actor.role == "buyer" and command.name == "cancel" and escrow.state not in BEFORE_WORK:
        if escrow.terminal:
            return  # the table says it better: nothing is possible any more
        raise _forbidden(
            "the buyer may cancel only before work starts; afterwards the seller or an operator may", actor
        )


def check_cancel(escrow: Escrow, command: Command) -> None:
    """Raise forbidden for a buyer who cancels after work has started."""
    if command.actor.role == "buyer" and escrow.state not in BEFORE_WORK:
        message = "the buyer may cancel only before work starts; afterwards the seller or an operator may"
        raise _forbidden(message, command.actor)


def refuse_resolver(escrow: Escrow, actor: Actor) -> None:
    """Raise forbidden when the one who judges a dispute is one of its parties."""
    if actor.party in {escrow.buyer, escrow.seller}:
        raise _forbidden("a dispute's resolver may not be one of its parties", actor)


def refuse_version(escrow: Escrow, expected: int | None) -> None:
    """Raise conflict when the sender saw another version."""
    if expected is not None and expected != escrow.version:
        raise RefusedError(
            ErrorCode.CONFLICT,
            f"the escrow is at version {escrow.version}, the command was based on {expected}: look again and retry",
            current_version=escrow.version,
            expected_version=expected,
        )


def refuse_event(escrow: Escrow, event: Event | None) -> None:
    """Raise invalid_transition unless the table has the pair; in a dispute only its resolution ends the escrow."""
    if event is None:
        return
    if event not in TRANSITIONS[escrow.state]:
        refuse_transition(escrow, event)
    if escrow.state == State.DISPUTED and event in {Event.COMPLETE, Event.REFUND}:
        refuse_transition(escrow, event)


def check_amend(escrow: Escrow, command: Command) -> None:
    """Amounts and milestones are locked once funded: funding is acceptance. Source: domain.md, section 3."""
    if escrow.state != State.CREATED:
        refuse_transition(escrow, command.name)


def open_milestones(escrow: Escrow) -> tuple[Milestone, ...]:
    """The milestones whose money is still held and not frozen."""
    return tuple(milestone for milestone in escrow.milestones if milestone.status in OPEN_MILESTONE)


def _forbidden(message: str, actor: Actor) -> RefusedError:
    return RefusedError(ErrorCode.FORBIDDEN, message, actor=str(actor))
