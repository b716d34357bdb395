"""A reversal after release: by the original's rates, from payable, wallet, receivable. Source: domain.md, section 5."""

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.commands import ApproveMilestone as Approve
from models.commands import (
    Complete,
    OpenChargeback,
    RaiseDispute,
    RecordPayout,
    ResolveDispute,
    RetryPayout,
    ReverseMilestone,
    ReviewDispute,
    SendPayout,
)
from models.commands import SubmitMilestone as Submit
from models.decision import Settlement
from models.exchange import Rate
from models.facts import Party
from models.postings import PLATFORM, AccountKind
from models.states import MilestoneStatus, PayoutStatus, State
from tests.builders import BUYER, NOW, OPERATOR, SYSTEM, Deal, eur, policies

PARTLY = st.integers(2, 10**6).flatmap(lambda total: st.tuples(st.just(total), st.lists(st.integers(1, total - 1))))


def released(amount: int = 500000, rate: str = "0.10", payer: str = "seller") -> Deal:
    """A deal of one milestone that is released, its payout due."""
    deal = Deal.at(State.IN_PROGRESS, policies(rate, payer=payer), amount=amount, milestones=(amount,))
    deal.do(Submit)
    deal.do(Approve)
    return deal


def paid(deal: Deal) -> Deal:
    """The deal once its latest payout has arrived."""
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="paid")
    return deal


def reverse(deal: Deal, amount: int, milestone: int = 1) -> Settlement:
    """Claw back, and return the settlement."""
    settlement = deal.do(ReverseMilestone, milestone=milestone, amount=amount).settlement
    assert settlement is not None
    return settlement


def sources(settlement: Settlement) -> tuple[int, int, int, int]:
    """What a clawback took: fee, payable, wallet, receivable."""
    taken = settlement.taken_back
    assert taken is not None
    return taken.fee_returned, taken.payable, taken.wallet, taken.receivable


def test_the_platform_gives_back_its_fee_and_the_seller_the_rest() -> None:
    """50000 of a release of 150000 at 10 %: 5000 and 45000, and the buyer has all of the 50000."""
    deal = Deal.at(State.MILESTONE_APPROVED)
    before = deal.funds.buyer.wallet
    settlement = reverse(deal, 50000)
    assert sources(settlement) == (5000, 45000, 0, 0)
    assert (settlement.outcome, settlement.division.buyer_refund) == ("reversal", eur(50000))
    assert deal.funds.buyer.wallet == before + 50000
    assert deal.balance(AccountKind.FEE_REVENUE, PLATFORM) == 10000
    assert (deal.escrow.released, deal.escrow.refunded, deal.escrow.held) == (100000, 50000, 350000)
    assert (deal.escrow.milestones[0].clawed, deal.escrow.milestones[0].amount) == (50000, 150000)


@pytest.mark.parametrize(
    ("payable", "wallet", "expected"),
    [
        (100000, 100000, (5000, 45000, 0, 0)),
        (30000, 100000, (5000, 30000, 15000, 0)),
        (30000, 10000, (5000, 30000, 10000, 5000)),
        (0, 20000, (5000, 0, 20000, 25000)),
        (0, 0, (5000, 0, 0, 45000)),
    ],
)
def test_it_is_taken_from_payable_then_wallet_then_owed(
    payable: int, wallet: int, expected: tuple[int, int, int, int]
) -> None:
    deal = paid(Deal.at(State.MILESTONE_APPROVED))
    deal.seller = Party(payable=payable, wallet=wallet)
    assert sources(reverse(deal, 50000)) == expected
    assert deal.balance(AccountKind.RECEIVABLE, "bob") == expected[3]
    assert ("receivable.recorded" in [one.type for one in deal.decisions[-1].events]) == bool(expected[3])


def test_edge_27_the_reversal_uses_the_originals_fee_rate_whatever_the_policy_says_now() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.policies = policies("0.25", reversal="0.5", version=2)
    settlement = reverse(deal, 50000)
    assert sources(settlement)[:2] == (5000, 45000)
    assert (settlement.rule.policy_version, settlement.rule.name, settlement.rule.rate) == (1, "release/*", Decimal("0.10"))  # fmt: skip  # noqa: E501


def test_edge_27_the_reversal_needs_no_fee_rule_of_today() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.policies = policies(None, reversal=None)
    assert sources(reverse(deal, 50000))[:2] == (5000, 45000)


@pytest.mark.parametrize("today", ["1.20", None])
def test_edge_27_the_reversal_uses_the_originals_exchange_rate(today: str | None) -> None:
    """Released at 1.08 and clawed back at 1.20, or while there is no rate: 50000 are 54000 US cents, as they were."""
    deal = Deal.at(State.MILESTONE_PENDING, policies(reporting_currency="USD"))
    deal.rate = Rate(base="EUR", quote="USD", rate=Decimal("1.08"), as_of=NOW.date(), source="bank")
    deal.do(Approve)
    deal.rate = today and deal.rate.model_copy(update={"rate": Decimal(today)})  # type: ignore[assignment]
    settlement = reverse(deal, 50000)
    assert settlement.rate.rate == Decimal("1.08")
    assert (settlement.translation.total.amount, settlement.translation.buyer_refund.amount) == (54000, 54000)


@settings(deadline=None)
@given(PARTLY, st.decimals(0, 1, places=4), st.sampled_from(["seller", "buyer", "both"]), st.integers(0, 3), st.data())
def test_edge_21_n_partial_clawbacks_equal_one_full_one_in_every_account(
    cuts: tuple[int, list[int]], rate: Decimal, payer: str, bits: int, data: st.DataObject
) -> None:
    total, points = cuts
    steps = [after - before for before, after in pairwise(sorted({0, *points, total}))]
    wallet = data.draw(st.integers(0, total)) if bits & 1 else 0
    many, one = released(total, str(rate), payer), released(total, str(rate), payer)
    for deal in (many, one):
        if bits & 2 and deal.escrow.payouts:
            paid(deal)
        deal.seller = Party(wallet=wallet)
    for step in steps:
        reverse(many, step)
    reverse(one, total)
    accounts = [{key: units for key, units in deal.books.items() if units and key[1] in {"alice", "bob", PLATFORM}} for deal in (many, one)]  # fmt: skip  # noqa: E501
    assert accounts[0] == accounts[1]
    assert many.balance(AccountKind.FEE_REVENUE, PLATFORM) == 0, "all of the fee went back"
    assert many.balance(AccountKind.WALLET, "alice") == 0, "the buyer has exactly what was paid in"
    assert many.escrow.refunded == one.escrow.refunded == many.escrow.funded


@settings(deadline=None)
@given(PARTLY)
def test_edge_21_the_reporting_amounts_of_the_parts_sum_to_those_of_the_whole(cuts: tuple[int, list[int]]) -> None:
    total, points = cuts
    steps = [after - before for before, after in pairwise(sorted({0, *points, total}))]
    deal = Deal.at(
        State.IN_PROGRESS, policies(payer="both", reporting_currency="JPY"), amount=total, milestones=(total,)
    )
    deal.rate = Rate(base="EUR", quote="JPY", rate=Decimal("163.47"), as_of=NOW.date(), source="bank")
    deal.do(Submit)
    settlement = deal.do(Approve).settlement
    assert settlement is not None
    back = [reverse(deal, step).translation.total.amount for step in steps]
    assert sum(back) == settlement.translation.total.amount


def test_edge_22_clawbacks_together_above_what_was_released_are_refused() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    reverse(deal, 100000)
    refusal = deal.refused(ReverseMilestone, amount=50001)
    assert (refusal.code, refusal.details) == ("refund_amount_mismatch", {"refundable": 50000})
    reverse(deal, 50000)
    assert deal.escrow.milestones[0].status == MilestoneStatus.REFUNDED


def test_edge_22_a_milestone_clawed_back_whole_has_no_more() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    reverse(deal, 150000)
    assert deal.refused(ReverseMilestone, amount=1).code == "invalid_transition"


def test_edge_22_what_went_back_before_the_release_cannot_go_back_after_it() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    reverse(deal, 50000)
    deal.do(Approve)
    assert deal.refused(ReverseMilestone, amount=100001).details == {"refundable": 100000}
    assert sources(reverse(deal, 100000))[:2] == (10000, 90000)


def test_edge_22_of_a_split_only_what_the_seller_got_before_the_fee_can_go_back() -> None:
    """100000 at 10 % and 0.7 is 10000 / 63000 / 27000: 73000 were released, and go back as 10000 and 63000."""
    deal = Deal.at(State.IN_PROGRESS, amount=100000, milestones=(100000,))
    deal.do(RaiseDispute)
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="split", seller_share="0.7")
    assert deal.refused(ReverseMilestone, amount=73001).details == {"refundable": 73000}
    assert sources(reverse(deal, 73000))[:2] == (10000, 63000)
    assert deal.escrow.refunded == 100000


def test_a_clawback_does_not_give_a_dispute_fee_back() -> None:
    """Of 73000 the seller got 61500 after a dispute fee of 1500: to give 63000 back, 1500 more are owed."""
    fee = {"amount": 1500, "payer": "seller"}
    deal = Deal.at(State.IN_PROGRESS, policies(dispute_fee=fee), amount=100000, milestones=(100000,))
    deal.do(RaiseDispute)
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="split", seller_share="0.7")
    assert deal.balance(AccountKind.PAYABLE, "bob") == 61500
    assert sources(reverse(deal, 73000)) == (10000, 61500, 0, 1500)
    assert deal.balance(AccountKind.DISPUTE_FEE_REVENUE, PLATFORM) == 1500


def test_milestones_that_were_released_together_are_clawed_back_one_by_one() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(Complete)
    assert deal.refused(ReverseMilestone, milestone=2, amount=200001).details == {"refundable": 200000}
    for milestone, amount in ((2, 200000), (1, 150000), (3, 150000)):
        reverse(deal, amount, milestone)
    assert deal.balance(AccountKind.FEE_REVENUE, PLATFORM) == 0
    assert deal.escrow.refunded == 500000


def test_an_ended_escrow_stays_ended() -> None:
    deal = Deal.at(State.COMPLETED)
    reverse(deal, 50000)
    assert deal.escrow.state == State.COMPLETED


def test_a_payout_that_has_not_left_is_smaller_by_what_was_taken() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    reverse(deal, 50000)
    assert deal.escrow.payouts[0].amount == 90000
    paid(deal)
    assert deal.balance(AccountKind.PAYABLE, "bob") == 0


def test_a_payout_of_which_nothing_is_left_is_cancelled() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    reverse(deal, 150000)
    (payout,) = deal.escrow.payouts
    assert (payout.status, payout.going) == (PayoutStatus.CANCELLED, False)
    assert deal.refused(SendPayout).code == "invalid_transition"


@pytest.mark.parametrize("outcome", ["unknown", "failed"])
def test_what_is_on_its_way_is_owed_and_netted_if_it_comes_back(outcome: str) -> None:
    """In transit nothing can be taken of 135000; declined and sent again, 45000 of it pay the debt."""
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.do(SendPayout)
    if outcome == "unknown":
        deal.do(RecordPayout, outcome="unknown")
    assert sources(reverse(deal, 50000)) == (5000, 0, 0, 45000)
    deal.do(RecordPayout, outcome="failed", reason="account closed")
    deal.do(RetryPayout)
    deal.do(SendPayout)
    assert (deal.escrow.payouts[0].amount, deal.escrow.payouts[0].netted) == (90000, 45000)
    assert deal.balance(AccountKind.RECEIVABLE, "bob") == deal.balance(AccountKind.PAYABLE, "bob") == 0


@pytest.mark.parametrize("outcome", ["failed", "returned"])
def test_what_came_back_is_taken_from_the_payable_and_the_rest_can_be_sent_again(outcome: str) -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.do(SendPayout)
    if outcome == "returned":
        deal.do(RecordPayout, outcome="paid")
    deal.do(RecordPayout, outcome=outcome, reason="account closed")
    assert sources(reverse(deal, 50000)) == (5000, 45000, 0, 0)
    deal.do(RetryPayout, destination="acct_new")
    deal.do(SendPayout)
    assert deal.escrow.payouts[0].amount == 90000
    assert deal.balance(AccountKind.PAYABLE, "bob") == 0


def test_what_the_seller_owes_is_netted_before_the_next_release_is_paid_out() -> None:
    """A debt of 45000 and a release of 200000 at 10 %: 135000 are due, 45000 pay the debt."""
    deal = paid(Deal.at(State.MILESTONE_APPROVED))
    reverse(deal, 50000)
    deal.do(Submit, milestone=2)
    decision = deal.do(Approve, milestone=2)
    assert [one.memo for one in decision.transactions] == ["release", "net receivable"]
    assert (deal.escrow.payouts[-1].amount, deal.escrow.payouts[-1].netted) == (135000, 45000)
    assert deal.balance(AccountKind.RECEIVABLE, "bob") == 0
    assert "receivable.netted" in [one.type for one in decision.events]


def test_a_release_that_only_pays_a_debt_makes_no_payout_due() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    deal.seller = Party(receivable=135001)
    deal.do(Approve)
    assert deal.escrow.payouts == ()
    assert deal.funds.seller.receivable == 1
    assert deal.balance(AccountKind.PAYABLE, "bob") == 0


def test_what_the_seller_owes_by_the_time_of_sending_is_netted_as_well() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.seller = Party(receivable=35000)
    deal.do(SendPayout)
    assert (deal.escrow.payouts[0].amount, deal.escrow.payouts[0].netted) == (100000, 35000)
    assert deal.balance(AccountKind.PAYOUT_IN_TRANSIT, deal.escrow.payouts[0].id) == 100000


def test_a_payable_that_another_escrow_lost_sends_only_what_is_left_or_is_cancelled() -> None:
    for there, amount, status in ((35000, 35000, PayoutStatus.IN_TRANSIT), (0, 135000, PayoutStatus.CANCELLED)):
        deal = Deal.at(State.MILESTONE_APPROVED)
        deal.seller = Party(payable=there - 135000)
        deal.do(SendPayout)
        (payout,) = deal.escrow.payouts
        assert (payout.amount, payout.status) == (amount, status)


def test_the_seller_or_an_operator_gives_back_nobody_else() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    for stranger in (BUYER, SYSTEM):
        assert deal.refused(ReverseMilestone, by=stranger, amount=1).code == "forbidden"
    deal.do(ReverseMilestone, by=OPERATOR, amount=1)


def test_nothing_is_clawed_back_while_a_chargeback_is_open() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.do(OpenChargeback, amount=100000)
    assert deal.refused(ReverseMilestone, amount=1).code == "chargeback_open"


def test_a_clawback_does_not_stop_the_clocks_of_the_other_milestones() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.now += timedelta(hours=1)
    deal.do(Submit, milestone=2)
    clock = deal.next_deadline
    reverse(deal, 50000)
    assert deal.next_deadline == clock
    assert deal.escrow.state == State.MILESTONE_PENDING
