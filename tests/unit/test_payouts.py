"""Payouts: the books first, then the gateway, and only a definite answer moves money. Source: domain.md, section 11."""

import pytest

from models.commands import Complete, RecordPayout, RetryPayout, SendPayout
from models.escrow import Payout
from models.postings import AccountKind
from models.states import MilestoneStatus, PayoutStatus, State
from tests.builders import SELLER, Deal, new_id


def approved() -> Deal:
    """The usual deal with milestone 1 released, so that one payout is due."""
    return Deal.at(State.MILESTONE_APPROVED)


def latest(deal: Deal) -> Payout:
    """The deal's latest payout."""
    return deal.escrow.payouts[-1]


def test_a_release_makes_a_payout_due_whose_account_is_that_of_the_moment_when_it_is_sent() -> None:
    payout = latest(approved())
    assert (payout.status, payout.party, payout.destination) == (PayoutStatus.DUE, "bob", None)
    assert (payout.amount, payout.generation) == (135000, 1)


def test_a_paid_payout_makes_its_milestone_paid() -> None:
    deal = approved()
    sent = deal.do(SendPayout).escrow
    assert sent.milestones[0].status == MilestoneStatus.APPROVED
    deal.do(RecordPayout, outcome="paid", reference="tr_1")
    assert deal.escrow.milestones[0].status == MilestoneStatus.PAID
    assert (latest(deal).status, latest(deal).reference) == (PayoutStatus.PAID, "tr_1")


def test_edge_9_an_unknown_outcome_moves_no_money_and_stays_in_transit_until_it_is_definite() -> None:
    deal = approved()
    deal.do(SendPayout)
    decision = deal.do(RecordPayout, outcome="unknown", reason="timeout")
    assert decision.transactions == ()
    assert deal.balance(AccountKind.PAYOUT_IN_TRANSIT, latest(deal).id) == 135000
    assert deal.refused(RetryPayout).code == "invalid_transition"
    deal.do(RecordPayout, outcome="paid")
    assert deal.balance(AccountKind.PAYOUT_IN_TRANSIT, latest(deal).id) == 0


def test_edge_10_a_definite_decline_is_payable_again_and_a_retry_is_a_new_generation() -> None:
    deal = approved()
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="failed", reason="account closed")
    assert deal.balance(AccountKind.PAYABLE, "bob") == 135000
    assert deal.escrow.attention is not None
    assert "account closed" in deal.escrow.attention
    deal.do(RetryPayout, by=SELLER, destination="acct_new")
    assert (latest(deal).generation, latest(deal).destination) == (2, "acct_new")
    assert deal.escrow.attention is None
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="paid")
    assert deal.balance(AccountKind.PAYABLE, "bob") == 0


def test_edge_14_an_answer_to_an_older_attempt_is_ignored() -> None:
    deal = approved()
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="failed")
    deal.do(RetryPayout)
    assert deal.refused(SendPayout, generation=1).code == "invalid_transition"
    deal.do(SendPayout)
    assert deal.refused(RecordPayout, generation=1, outcome="failed").details["generation"] == 2


@pytest.mark.parametrize("outcome", ["paid", "failed", "unknown"])
def test_edge_6_a_payout_is_sent_once_and_its_outcome_recorded_once(outcome: str) -> None:
    deal = approved()
    assert deal.refused(RecordPayout, outcome=outcome).code == "invalid_transition"
    deal.do(SendPayout)
    assert deal.refused(SendPayout).code == "invalid_transition"
    deal.do(RecordPayout, outcome=outcome)
    assert deal.refused(RecordPayout, outcome=outcome).code == "invalid_transition"


def test_without_a_destination_nothing_moves_and_the_payout_waits_for_one() -> None:
    deal = approved()
    deal.escrow = deal.escrow.model_copy(
        update={"payouts": tuple(payout.model_copy(update={"destination": None}) for payout in deal.escrow.payouts)}
    )
    deal.destination = None
    assert deal.do(SendPayout).transactions == ()
    assert latest(deal).status == PayoutStatus.FAILED
    assert deal.balance(AccountKind.PAYABLE, "bob") == 135000
    deal.destination = "acct_later"
    deal.do(RetryPayout)
    deal.do(SendPayout)
    assert latest(deal).destination == "acct_later"


def test_a_completed_escrow_is_finished_only_when_its_payouts_have_arrived() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(Complete)
    assert deal.escrow.terminal
    assert not deal.escrow.finished
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="unknown")
    assert not deal.escrow.finished
    deal.do(RecordPayout, outcome="paid")
    assert deal.escrow.finished
    assert {milestone.status for milestone in deal.escrow.milestones} == {MilestoneStatus.PAID}


def test_an_unknown_payout_is_not_found_and_the_refusal_lists_those_there_are() -> None:
    deal = approved()
    refusal = deal.refused(SendPayout, payout=new_id("pay"))
    assert (refusal.code, refusal.details["payouts"]) == ("not_found", [latest(deal).id])
