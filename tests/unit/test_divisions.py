"""Fees and divisions with the specification's own numbers. Source: domain.md, section 5."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models import divisions
from models.commands import ApproveMilestone, RaiseDispute, ResolveDispute, ReverseMilestone, ReviewDispute
from models.decision import Settlement
from models.divisions import Clawback, Division
from models.errors import RefusedError
from models.fee_policies import FeePolicy
from models.fees import find_fee
from models.money import MAX_AMOUNT
from models.policies import Policies
from models.states import State
from tests.builders import Deal, eur, policies
from tests.unit.test_fees import TWO_BANDS, a_fee, a_rule, at, graduated, whole_volume

TEN_PERCENT = a_fee("0.10")
NO_FEE = a_fee("0", outcome="refund")
BY_BUYER = a_fee("0.10", payer="buyer")
BY_BOTH = a_fee("0.10", payer="both")

AMOUNTS = st.integers(0, MAX_AMOUNT)
PAYERS = st.sampled_from(["seller", "buyer", "both"])
RATES = st.decimals(0, 1, places=4)


def parts(division: Division) -> tuple[int, int, int]:
    """Fee, seller, buyer in minor units."""
    return division.platform_fee.amount, division.seller_payout.amount, division.buyer_refund.amount


def test_a_release_of_150000_at_10_percent_is_15000_and_135000() -> None:
    assert parts(divisions.release(eur(150000), TEN_PERCENT)) == (15000, 135000, 0)


def test_a_refund_without_a_refund_fee_returns_everything() -> None:
    assert parts(divisions.refund(eur(150000), NO_FEE)) == (0, 0, 150000)


def test_a_refund_fee_is_taken_from_what_returns() -> None:
    assert parts(divisions.refund(eur(150000), a_fee("0.02", outcome="refund"))) == (3000, 0, 147000)


def test_a_split_of_100000_at_10_percent_and_70_30_is_10000_and_63000_and_27000() -> None:
    assert parts(divisions.split(eur(100000), TEN_PERCENT, Decimal("0.7"))) == (10000, 63000, 27000)


def test_a_partial_refund_of_40000_out_of_100000_pays_the_fee_only_on_what_is_released() -> None:
    assert parts(divisions.partial_refund(eur(100000), TEN_PERCENT, eur(40000))) == (6000, 54000, 40000)


def test_a_reversal_of_50000_out_of_100000_projects_5000_of_fee_and_45000_of_earnings() -> None:
    assert parts(divisions.reversal(eur(0), eur(50000), NO_FEE)) == (0, 0, 50000)
    gone = divisions.projection(eur(100000), eur(50000), TEN_PERCENT)
    assert (gone.fee_returned, gone.payout_reduced) == (eur(5000), eur(45000))


def settled(deal: Deal) -> Settlement:
    """The settlement of the deal's latest decision."""
    settlement = deal.decisions[-1].settlement
    assert settlement is not None
    return settlement


def test_a_reversal_keeps_the_intent_on_record_and_the_rest_is_released_later() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, amount=100000, milestones=(100000,))
    deal.do(ReverseMilestone, amount=50000)
    assert parts(settled(deal).division) == (0, 0, 50000)
    assert settled(deal).projection == divisions.Projection(eur(5000), eur(45000))
    assert (deal.escrow.milestones[0].amount, deal.escrow.milestones[0].remaining) == (100000, 50000)
    deal.do(ApproveMilestone)
    assert parts(settled(deal).division) == (5000, 45000, 0)
    assert deal.escrow.state == State.COMPLETED


def test_the_settlement_names_policy_version_rule_rate_and_every_step() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, policies("0.10", version=7))
    deal.do(ApproveMilestone)
    rule = settled(deal).rule
    assert (rule.rate, rule.policy_version, rule.name) == (Decimal("0.10"), 7, "release/*")
    assert settled(deal).steps == (
        "fee policy version 7, rule release/*, rate 0.10",
        "0.10 x 150000 = 15000 (rounded half-up)",
    )


def test_a_split_of_a_dispute_takes_the_split_rule_not_the_release_rule() -> None:
    deal = Deal.at(State.DISPUTED, policies("0.10", split="0.20"), amount=100000, milestones=())
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="split", seller_share="0.5")
    assert parts(settled(deal).division) == (20000, 40000, 40000)


def test_a_partial_refund_of_a_dispute_takes_the_release_rule_on_what_is_released() -> None:
    deal = Deal.at(State.FUNDED, policies("0.10", refund=None, split=None), amount=100000, milestones=())
    deal.do(RaiseDispute)
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="partial_refund", refund_amount=40000)
    assert parts(settled(deal).division) == (6000, 54000, 40000)


def fees(*rules: tuple[str, str, str]) -> Policies:
    """Policies with exactly these rules of (outcome, category, rate)."""
    return Policies(
        fees=FeePolicy(rules=tuple(a_rule(outcome, category, rate=rate) for outcome, category, rate in rules)),
        fees_version=2,
    )


def test_the_rule_of_the_exact_category_wins_over_the_star_in_any_order() -> None:
    for rules in ([("release", "*", "0.10"), ("release", "web", "0.05")], [("release", "web", "0.05"), ("release", "*", "0.10")]):  # fmt: skip  # noqa: E501
        web, design = find_fee(fees(*rules), "release", "web"), find_fee(fees(*rules), "release", "design")
        assert (web.rate, web.policy_version, web.name) == (Decimal("0.05"), 2, "release/web")
        assert (design.rate, design.policy_version, design.name) == (Decimal("0.10"), 2, "release/*")


def test_a_rule_of_another_outcome_or_category_is_no_rule_and_the_refusal_lists_what_there_is() -> None:
    with pytest.raises(RefusedError) as caught:
        find_fee(fees(("release", "web", "0.05"), ("refund", "*", "0")), "release", "design")
    assert caught.value.refusal.code == "fee_policy_not_found"
    assert caught.value.refusal.kind.retry_may_help
    assert caught.value.refusal.details == {
        "outcome": "release", "category": "design", "rules": ["release/web", "refund/*"],
    }  # fmt: skip


def test_two_rules_for_one_outcome_and_category_are_refused_when_the_policy_is_written() -> None:
    with pytest.raises(ValidationError, match="a second rule for release of category web"):
        fees(("release", "web", "0.05"), ("release", "*", "0.10"), ("release", "web", "0.06"))


@settings(deadline=None)
@given(AMOUNTS, RATES, RATES)
def test_a_split_conserves_its_total_and_each_side_gets_its_share_to_less_than_a_unit(
    total: int, rate: Decimal, share: Decimal
) -> None:
    division = divisions.split(eur(total), a_fee(str(rate), outcome="split"), share)
    fee, seller, buyer = parts(division)
    assert fee + seller + buyer == total
    assert min(fee, seller, buyer) >= 0
    assert abs(seller * 10**4 - (total - fee) * int(share * 10**4)) < 10**4


@settings(deadline=None)
@given(AMOUNTS, st.data(), RATES)
def test_every_other_division_conserves_its_total_and_no_part_is_negative(
    total: int, data: st.DataObject, rate: Decimal
) -> None:
    fee, returned = a_fee(str(rate)), eur(data.draw(st.integers(0, total)))
    for division in (
        divisions.release(eur(total), fee),
        divisions.refund(eur(total), fee),
        divisions.partial_refund(eur(total), fee, returned),
        divisions.reversal(eur(0), eur(total), fee),
    ):
        assert sum(parts(division)) == total
        assert min(parts(division)) >= 0


def test_a_division_that_loses_or_invents_a_unit_cannot_be_made() -> None:
    with pytest.raises(ArithmeticError, match="must conserve"):
        Division(eur(100), eur(10), eur(89), eur(0))
    with pytest.raises(ArithmeticError, match="must conserve"):
        Division(eur(100), eur(110), eur(-10), eur(0))


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8), RATES)
def test_n_partial_reversals_pay_the_reversal_fee_of_one_full_one(amounts: list[int], rate: Decimal) -> None:
    fee, before = a_fee(str(rate), outcome="reversal"), eur(0)
    taken = returned = 0
    for amount in amounts:
        division = divisions.reversal(before, eur(amount), fee)
        taken += division.platform_fee.amount
        returned += division.buyer_refund.amount
        before += eur(amount)
    once = divisions.reversal(eur(0), before, fee)
    assert (taken, returned) == (once.platform_fee.amount, once.buyer_refund.amount)


def test_a_fee_paid_by_the_buyer_comes_out_of_the_surcharge_and_the_rest_of_it_returns() -> None:
    assert parts(divisions.release(eur(150000), BY_BUYER, eur(15000))) == (15000, 150000, 0)
    assert parts(divisions.release(eur(150000), BY_BUYER, eur(20000))) == (15000, 150000, 5000)


def test_while_more_is_to_be_released_the_unused_surcharge_stays_held() -> None:
    division = divisions.release(eur(150000), BY_BUYER, eur(50000), last=False)
    assert (parts(division), division.total) == ((15000, 150000, 0), eur(165000))


def test_a_fee_paid_by_both_takes_half_from_each_and_the_odd_unit_from_the_seller() -> None:
    assert parts(divisions.release(eur(335), BY_BOTH, eur(17))) == (34, 318, 0)
    assert parts(divisions.release(eur(333), BY_BOTH, eur(17))) == (33, 316, 1), "16 of the buyer, 17 of the seller"


def test_a_surcharge_that_is_too_small_lowers_the_fee_and_not_what_the_seller_gets() -> None:
    """The fee rose since the funding: the seller never agreed to pay it, and the buyer paid what was asked."""
    assert parts(divisions.release(eur(150000), BY_BUYER, eur(9000))) == (9000, 150000, 0)
    assert parts(divisions.release(eur(150000), BY_BUYER)) == (0, 150000, 0)


def test_a_split_takes_the_buyers_part_from_the_surcharge_and_the_sellers_off_the_top() -> None:
    share = Decimal("0.7")
    assert parts(divisions.split(eur(100000), BY_BUYER, share, eur(10000))) == (10000, 70000, 30000)
    assert parts(divisions.split(eur(100000), BY_BOTH, share, eur(6000))) == (10000, 66500, 28500 + 1000)
    assert parts(divisions.split(eur(100000), BY_BOTH, share, eur(6000), last=False)) == (10000, 66500, 28500)


def test_a_partial_refund_returns_the_surcharge_of_what_is_not_released() -> None:
    assert parts(divisions.partial_refund(eur(100000), BY_BUYER, eur(40000), eur(10000))) == (6000, 60000, 44000)
    kept = divisions.partial_refund(eur(100000), BY_BUYER, eur(40000), eur(10000), last=False)
    assert (parts(kept), kept.total) == ((6000, 60000, 40000), eur(106000))


def test_a_refund_and_a_reversal_return_the_surcharge_whole() -> None:
    assert parts(divisions.refund(eur(100000), NO_FEE, eur(10000))) == (0, 0, 110000)
    assert parts(divisions.refund(eur(100000), a_fee("0.02", outcome="refund"), eur(10000))) == (2000, 0, 108000)
    assert parts(divisions.reversal(eur(0), eur(50000), NO_FEE, eur(5000))) == (0, 0, 55000)


def test_a_surcharge_below_zero_is_an_error_of_the_program() -> None:
    for divide in (divisions.release, divisions.refund):
        with pytest.raises(ArithmeticError, match="a surcharge is never below zero"):
            divide(eur(100), BY_BUYER, eur(-1))


@settings(deadline=None)
@given(AMOUNTS, AMOUNTS, RATES, RATES, PAYERS, st.booleans(), st.data())
def test_a_surcharge_is_used_returned_or_kept_and_every_division_conserves_its_total(
    total: int, held: int, rate: Decimal, share: Decimal, payer: str, last: bool, data: st.DataObject
) -> None:
    fee, returned = a_fee(str(rate), payer=payer), eur(data.draw(st.integers(0, total)))
    for division in (
        divisions.release(eur(total), fee, eur(held), last=last),
        divisions.split(eur(total), fee, share, eur(held), last=last),
        divisions.partial_refund(eur(total), fee, returned, eur(held), last=last),
    ):
        taken = division.total.amount - total
        assert min(parts(division)) >= 0
        assert taken == held if last else 0 <= taken <= held
        assert division.platform_fee.amount <= total
    assert sum(parts(divisions.refund(eur(total), a_fee(str(rate), outcome="refund"), eur(held)))) == total + held


@settings(deadline=None)
@given(AMOUNTS, RATES, RATES, st.data())
def test_without_a_surcharge_a_fee_of_the_seller_is_divided_as_ever(
    total: int, rate: Decimal, share: Decimal, data: st.DataObject
) -> None:
    fee, returned = a_fee(str(rate)), data.draw(st.integers(0, total))
    taken, on_the_rest = eur(total).times(rate).amount, eur(total - returned).times(rate).amount
    seller, buyer = eur(total - taken).divide((share, 1 - share))
    assert parts(divisions.release(eur(total), fee)) == (taken, total - taken, 0)
    assert parts(divisions.refund(eur(total), fee)) == (taken, 0, total - taken)
    assert parts(divisions.split(eur(total), fee, share)) == (taken, seller.amount, buyer.amount)
    assert parts(divisions.partial_refund(eur(total), fee, eur(returned))) == (
        on_the_rest, total - returned - on_the_rest, returned,
    )  # fmt: skip


def test_a_projection_by_tiers_takes_the_last_units_at_their_own_rate() -> None:
    """Of 60000 with 20 % up to 50000 the last 20000 carry 1000 + 2000 of the fee."""
    gone = divisions.projection(eur(60000), eur(20000), graduated(TWO_BANDS, at(60000)))
    assert (gone.fee_returned, gone.payout_reduced) == (eur(3000), eur(17000))


def test_a_projection_takes_from_the_seller_only_what_the_seller_would_have_got() -> None:
    for fee, payout in ((TEN_PERCENT, 45000), (BY_BUYER, 50000), (BY_BOTH, 47500)):
        gone = divisions.projection(eur(100000), eur(50000), fee)
        assert (gone.fee_returned, gone.payout_reduced) == (eur(5000), eur(payout))


def test_n_partial_reversals_by_one_rate_for_all_need_the_deals_standing() -> None:
    fee = whole_volume(TWO_BANDS, at(60000))
    first = divisions.reversal(eur(0), eur(40000), fee)
    second = divisions.reversal(eur(40000), eur(20000), fee)
    assert (parts(first), parts(second)) == ((4000, 0, 36000), (2000, 0, 18000))


def test_a_clawback_takes_the_originals_proportions() -> None:
    assert divisions.clawback(eur(150000), eur(15000), eur(0), eur(50000)) == Clawback(eur(5000), eur(45000))
    assert divisions.clawback(eur(150000), eur(15000), eur(0), eur(150000)) == Clawback(eur(15000), eur(135000))
    assert divisions.clawback(eur(0), eur(0), eur(0), eur(0)) == Clawback(eur(0), eur(0))


def test_edge_21_three_clawbacks_of_a_third_equal_one_of_the_whole() -> None:
    """Thirds of 100.01 with a fee of 10.01: each is rounded on the sum so far, so no unit is lost."""
    gross, fee = eur(10001), eur(1001)
    backs = [divisions.clawback(gross, fee, eur(before), eur(part)) for before, part in ((0, 3334), (3334, 3334), (6668, 3333))]  # fmt: skip  # noqa: E501
    assert [back.fee_returned.amount for back in backs] == [334, 333, 334]
    assert sum(back.payout_reduced.amount for back in backs) == 9000


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8), RATES, st.integers(0, 10**6))
def test_edge_21_n_partial_clawbacks_equal_one_full_one_in_fee_and_payout(
    amounts: list[int], rate: Decimal, kept: int
) -> None:
    gross = eur(sum(amounts) + kept)
    fee, before, taken, reduced = gross.times(rate), eur(0), 0, 0
    for amount in amounts:
        back = divisions.clawback(gross, fee, before, eur(amount))
        assert min(back.fee_returned.amount, back.payout_reduced.amount) >= 0
        taken, reduced = taken + back.fee_returned.amount, reduced + back.payout_reduced.amount
        before += eur(amount)
    assert divisions.clawback(gross, fee, eur(0), before) == Clawback(eur(taken), eur(reduced))


@pytest.mark.parametrize(
    ("gross", "fee", "before", "returned"),
    [(100, 10, 0, 101), (100, 10, 60, 41), (100, 101, 0, 1), (100, -1, 0, 1), (100, 10, 0, -1), (100, 10, -1, 1)],
)
def test_edge_22_more_than_was_released_cannot_be_clawed_back(gross: int, fee: int, before: int, returned: int) -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        divisions.clawback(eur(gross), eur(fee), eur(before), eur(returned))


def test_edge_20_a_fee_of_the_whole_leaves_nothing_and_one_of_nothing_takes_nothing() -> None:
    assert parts(divisions.release(eur(150000), a_fee("1"))) == (150000, 0, 0)
    assert parts(divisions.release(eur(20), a_fee("0.029", fixed=30))) == (20, 0, 0)
    assert parts(divisions.release(eur(0), a_fee("0.029", fixed=30))) == (0, 0, 0)
    assert parts(divisions.split(eur(100), a_fee("1"), Decimal("0.5"))) == (100, 0, 0)


def test_edge_19_the_odd_unit_of_a_split_goes_to_the_seller() -> None:
    assert parts(divisions.split(eur(1), NO_FEE, Decimal("0.5"))) == (0, 1, 0)
    assert parts(divisions.split(eur(10001), TEN_PERCENT, Decimal("0.5"))) == (1000, 4501, 4500)
