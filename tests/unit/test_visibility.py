"""What operators read: whom an escrow waits for, and other people's words shown as nothing but words."""

import pytest

from models.commands import ApproveMilestone, SubmitMilestone
from models.states import State
from tests.builders import Deal, a_create
from workflows.visibility import details, waits_for


@pytest.mark.parametrize(
    ("state", "whom"),
    [
        (State.CREATED, "the buyer to fund it"),
        (State.FUNDED, "the seller to start work"),
        (State.IN_PROGRESS, "the seller to submit a milestone"),
        (State.MILESTONE_PENDING, "the buyer to review milestone 1, until 2026-06-15 12:00 UTC"),
        (State.CANCELLED, "nothing, it is over"),
    ],
)
def test_operators_read_whom_an_escrow_waits_for(state: State, whom: str) -> None:
    assert waits_for(Deal.at(state).escrow) == whom


def test_where_no_milestone_is_left_the_seller_is_not_waited_for() -> None:
    """Milestones may sum below the amount; the rest ends by a command, not by a submission."""
    deal = Deal.at(State.IN_PROGRESS, amount=800, milestones=(300,))
    deal.do(SubmitMilestone)
    deal.do(ApproveMilestone)
    assert waits_for(deal.escrow).startswith("the buyer to complete")


def test_a_title_cannot_put_a_link_or_html_into_the_operators_page() -> None:
    create = a_create(milestones=(1,))
    hostile = create.milestones[0].model_copy(update={"title": "<b>x</b> [pay](http://evil) | `y`"})
    shown = details(create.model_copy(update={"milestones": (hostile,)}))
    assert r"\<b\>x\</b\> \[pay\]\(http://evil\) \| \`y\`" in shown
