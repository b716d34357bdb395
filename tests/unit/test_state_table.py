"""The state machine, held against a copy of the specification's own table. Source: domain.md, section 3; edge 31."""

import re
from itertools import product
from typing import Any, Final

import pytest

from models import commands
from models.commands import ApproveMilestone, RaiseDispute, ResolveDispute, ReviewDispute, SubmitMilestone
from models.decision import Decision
from models.errors import Refusal
from models.rules.admission import allowed_events
from models.states import TERMINAL, TRANSITIONS, Event, State, mermaid
from tests.builders import OPERATOR, Deal, new_id, order

# Copied by hand from domain.md; "back" is the state a dispute came from, "over" needs the dispute's resolution.
SPECIFIED: Final = """
created            fund funded | cancel cancelled
funded             start_work in_progress | cancel cancelled | refund refunded | dispute disputed
in_progress        submit_milestone milestone_pending | complete completed | dispute disputed | cancel cancelled
milestone_pending  approve_milestone milestone_approved | reject_milestone in_progress
milestone_pending  submit_milestone milestone_pending | dispute disputed
milestone_approved submit_milestone milestone_pending | complete completed | dispute disputed | cancel cancelled
disputed           resolve_dispute in_progress | refund refunded | complete completed
disputed           submit_milestone disputed | approve_milestone disputed | reject_milestone disputed
"""

STATES: Final = (
    "created", "funded", "in_progress", "milestone_pending", "milestone_approved",
    "completed", "disputed", "cancelled", "refunded",
)  # fmt: skip

COMMAND_OF: Final[dict[str, type[commands.Command]]] = {
    "fund": commands.Fund, "start_work": commands.StartWork, "submit_milestone": commands.SubmitMilestone,
    "approve_milestone": commands.ApproveMilestone, "reject_milestone": commands.RejectMilestone,
    "complete": commands.Complete, "dispute": commands.RaiseDispute, "resolve_dispute": commands.ResolveDispute,
    "cancel": commands.Cancel, "refund": commands.Refund,
}  # fmt: skip
EVENTS: Final = tuple(COMMAND_OF)


def specified() -> dict[tuple[str, str], str]:
    """The table as {(from, event): to}."""
    table = {}
    for line in SPECIFIED.strip().splitlines():
        state, moves = line.split(maxsplit=1)
        for move in moves.split(" | "):
            event, target = move.split()
            table[state, event] = target
    return table


TABLE: Final = specified()


def deal_in(state: str, event: str) -> Deal:
    """A deal in the state, as ready for the event as that state can be: in a dispute milestone 1 is left to work on."""
    if state != "disputed":
        return Deal.at(State(state))
    deal = Deal.at(State.IN_PROGRESS)
    if event in {"approve_milestone", "reject_milestone"}:
        deal.do(SubmitMilestone, milestone=1)
    deal.do(RaiseDispute, milestones=(2, 3))
    deal.do(ReviewDispute)
    return deal


def send(deal: Deal, event: str) -> Decision | Refusal:
    """The event's command with everything right but, perhaps, the state. An operator may send any of them."""
    fields: dict[str, Any] = {}
    if event == "resolve_dispute":
        fields = {"resolution": "mediation"}
        if not deal.escrow.open_dispute:
            fields["dispute"] = new_id("dsp")
    if event == "submit_milestone" and deal.escrow.state in {State.MILESTONE_PENDING, State.MILESTONE_APPROVED}:
        fields = {"milestone": 2}
    return deal.respond(order(COMMAND_OF[event], deal.escrow, by=OPERATOR, **fields))


def test_the_models_table_is_the_specifications_table() -> None:
    assert set(State) == set(STATES)
    assert set(Event) == set(EVENTS)
    assert {(str(s), str(e)): str(t) for s, moves in TRANSITIONS.items() for e, t in moves.items()} == TABLE


def test_completed_cancelled_and_refunded_are_the_ends() -> None:
    assert {"completed", "cancelled", "refunded"} == TERMINAL == set(STATES) - {state for state, _ in TABLE}


@pytest.mark.parametrize(("state", "event"), list(product(STATES, EVENTS)))
def test_edge_31_every_state_takes_the_events_of_its_row_and_refuses_all_others(state: str, event: str) -> None:
    deal = deal_in(state, event)
    before = deal.escrow.version
    answer = send(deal, event)
    only_by_resolution = state == "disputed" and event in {"complete", "refund"}
    if (state, event) in TABLE and not only_by_resolution:
        assert isinstance(answer, Decision), answer
        assert answer.escrow.state == TABLE[state, event]
        return
    assert isinstance(answer, Refusal), answer
    assert answer.code == "invalid_transition"
    assert (answer.details["state"], answer.details["event"]) == (state, event)
    assert state in answer.message
    assert event in answer.message
    assert set(answer.details["allowed"]) <= {name for origin, name in TABLE if origin == state}
    assert deal.escrow.version == before


@pytest.mark.parametrize(("resolution", "state"), [("buyer_favor", "refunded"), ("seller_favor", "completed")])
def test_a_dispute_over_everything_ends_the_escrow_only_through_its_resolution(resolution: str, state: str) -> None:
    deal = Deal.at(State.DISPUTED)
    deal.do(ReviewDispute)
    assert (
        deal.do(ResolveDispute, resolution=resolution).escrow.state
        == TABLE["disputed", {"refunded": "refund", "completed": "complete"}[state]]
    )


@pytest.mark.parametrize("state", STATES)
def test_edge_31_what_a_refusal_calls_allowed_is_then_accepted(state: str) -> None:
    for event in allowed_events(Deal.at(State(state)).escrow):
        deal = Deal.at(State(state))
        if event == "resolve_dispute":
            deal.do(ReviewDispute)
        assert isinstance(send(deal, event), Decision), f"{event} was called allowed in {state}"


def test_edge_31_approve_before_submit_is_refused_with_what_is_allowed() -> None:
    refusal = Deal.at(State.IN_PROGRESS).refused(ApproveMilestone)
    assert refusal.code == "invalid_transition"
    assert refusal.details["allowed"] == ["submit_milestone", "complete", "dispute", "cancel"]


def test_edge_31_a_milestone_cannot_be_submitted_twice() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    refusal = deal.refused(SubmitMilestone, milestone=1)
    assert refusal.code == "invalid_transition"
    assert refusal.details["milestone_status"] == "submitted"
    assert refusal.details["allowed"] == ["approve_milestone", "reject_milestone", "submit_milestone", "dispute"]


def test_edge_31_a_frozen_milestone_cannot_be_approved_in_the_dispute() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    deal.do(RaiseDispute, milestones=(1,))
    assert deal.refused(ApproveMilestone, milestone=1).details["milestone_status"] == "disputed"


def test_edge_31_after_the_end_nothing_is_allowed() -> None:
    for state in TERMINAL:
        assert Deal.at(state).refused(commands.StartWork).details["allowed"] == []


def test_several_milestones_may_be_under_review_and_the_escrow_is_pending_while_any_is() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    assert deal.do(SubmitMilestone, milestone=2).escrow.state == State.MILESTONE_PENDING
    assert deal.do(SubmitMilestone, milestone=3).escrow.state == State.MILESTONE_PENDING
    assert deal.do(ApproveMilestone, milestone=2).escrow.state == State.MILESTONE_PENDING
    assert deal.do(commands.RejectMilestone, milestone=1).escrow.state == State.MILESTONE_PENDING
    assert deal.do(ApproveMilestone, milestone=3).escrow.state == State.MILESTONE_APPROVED


def test_the_escrow_completes_by_itself_when_the_last_held_unit_is_released() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    for position in (1, 2, 3):
        deal.do(SubmitMilestone, milestone=position)
        decision = deal.do(ApproveMilestone, milestone=position)
    assert decision.escrow.state == State.COMPLETED
    assert [event.type for event in decision.events][-1] == "escrow.completed"


def test_the_diagram_of_the_documentation_draws_every_pair_and_both_ends() -> None:
    drawn = re.findall(r"^    (\w+) --> (\w+): (\w+)$", mermaid(), flags=re.MULTILINE)
    assert {(origin, event): target for origin, target, event in drawn} == TABLE
    ends = re.findall(r"^    (\w+) --> \[\*\]$", mermaid(), flags=re.MULTILINE)
    assert set(ends) == set(TERMINAL)
