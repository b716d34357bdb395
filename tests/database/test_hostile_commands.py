"""What a hostile or careless caller may try with ids, tenants, amendments and sizes: nothing moves and nothing jams."""

from typing import Any

import pytest
from pydantic import ValidationError

from ledger import reads
from models import deadlines
from models.commands import (
    Amend,
    ApproveMilestone,
    Complete,
    Fund,
    MilestoneDraft,
    RaiseDispute,
    StartWork,
    SubmitMilestone,
)
from models.errors import Refusal
from models.fields import Evidence
from models.states import State
from tests.builders import SELLER, a_create, new_id, order
from tests.market import Market
from tests.servers import Servers


def test_an_amended_plan_replaces_the_old_one_to_the_last_unit(market: Market) -> None:
    """Milestones that were amended away are no part of the agreement: not read, not approved, not released."""
    escrow = market.create()
    stale = escrow.milestones[0].id
    market.do(Amend, escrow, milestones=(MilestoneDraft(title="All of it", amount=500000),))
    escrow = market.escrow(escrow)
    assert [one.amount for one in escrow.milestones] == [500000]
    for kind in (Fund, StartWork):
        escrow = market.do(kind, escrow)
    refused = market.refused(SubmitMilestone, escrow, milestone=stale)
    assert refused.code == "not_found"
    market.do(SubmitMilestone, escrow)
    escrow = market.do(ApproveMilestone, market.escrow(escrow))
    assert (escrow.state, escrow.held, escrow.released) == (State.COMPLETED, 0, 500000)


def test_nobody_can_use_up_the_id_of_a_deadline(market: Market) -> None:
    """A platform's command cannot have the id by which the system will act, so it cannot be in its way."""
    escrow = market.at(State.MILESTONE_PENDING)
    deadline = escrow.next_deadline
    assert deadline is not None
    reached = deadlines.reach(escrow, deadline, deadline.due_at)
    with pytest.raises(ValidationError, match="String should match pattern"):
        order(StartWork, escrow, id=reached.id)
    assert market.accept(reached).released == 150000


@pytest.mark.parametrize("known", [True, False], ids=["another tenant", "an unknown tenant"])
def test_a_create_for_an_escrow_of_another_tenant_finds_nothing_and_writes_nothing(
    servers: Servers, market: Market, known: bool
) -> None:
    """Not even what is due in the escrow happens then, and nobody learns that it exists."""
    escrow = market.at(State.MILESTONE_PENDING)
    tenant = Market(servers.engine).tenant if known else new_id("ten")
    due = escrow.next_deadline
    assert due is not None
    foreign = a_create(escrow=escrow.id, tenant=tenant, received_at=due.due_at)
    before = market.count("audit", escrow)
    outcome = market.apply(foreign)
    assert outcome.escrow is None
    assert outcome.refusal is not None
    assert outcome.refusal.code == "not_found"
    assert (market.escrow(escrow).version, market.count("audit", escrow)) == (escrow.version, before)


def test_a_card_is_not_charged_for_a_funding_that_would_be_refused(market: Market) -> None:
    """The books are asked before the gateway: by a stranger, in the wrong state, or under a used id, no charge."""
    escrow = market.create()
    card: dict[str, Any] = {"source": "gateway", "payment_method": "pm_card_visa"}

    def foresee(command: Fund) -> Refusal | None:
        return market.books.amount_due(command).refusal

    due = market.books.amount_due(order(Fund, escrow, **card))
    assert (due.amount, due.refusal) == (500000, None)
    stranger = foresee(order(Fund, escrow, by=SELLER, expected_version=10**9, **card))
    assert stranger is not None
    assert stranger.code == "forbidden"
    funded = order(Fund, escrow)
    escrow = market.accept(funded)
    reused = foresee(order(Fund, escrow, id=funded.id, **card))
    assert reused is not None
    assert reused.code == "idempotency_key_reused"
    late = foresee(order(Fund, escrow, **card))
    assert late is not None
    assert late.code == "invalid_transition"


def test_texts_and_evidence_never_outgrow_what_a_history_can_carry(market: Market) -> None:
    """What would make the snapshot too large is refused, and the way out of the escrow stays open."""
    with pytest.raises(ValidationError, match="16384 bytes in all"):
        order(SubmitMilestone, market.create(), evidence=tuple(Evidence(name="x", note="😀" * 2000) for _ in range(3)))
    escrow = market.at(State.IN_PROGRESS)
    bulky = (Evidence(name="x", note="😀" * 2000),)
    refusal = None
    for _ in range(60):
        outcome = market.apply(order(RaiseDispute, escrow, evidence=bulky, description="😀" * 2000))
        if refusal := outcome.refusal:
            break
        escrow = market.mediate(escrow)
    assert refusal is not None
    assert "be brief" in refusal.message
    assert market.do(Complete, market.escrow(escrow)).state is State.COMPLETED
    assert len(reads.settlements(market.engine, escrow.id)) == 1
