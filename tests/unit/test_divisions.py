"""Fees and divisions with the specification's own numbers. Source: domain.md, section 5."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models import divisions
from models.commands import ApproveMilestone, RaiseDispute, ResolveDispute, ReverseMilestone, ReviewDispute
from models.decision import Settlement
from models.divisions import Division
from models.errors import RefusedError
from models.fee_policies import FeePolicy, FeeRule
from models.fees import Fee, find_fee
from models.money import MAX_AMOUNT
from models.policies import Policies
from models.states import State
from tests.builders import Deal, eur, policies

TEN_PERCENT = Fee(Decimal("0.10"), 3, "release/*")
NO_FEE = Fee(Decimal(0), 3, "refund/*")

AMOUNTS = st.integers(0, MAX_AMOUNT)
RATES = st.decimals(0, 1, places=4)


def parts(division: Division) -> tuple[int, int, int]:
    """Fee, seller, buyer in minor units."""
    return division.platform_fee.amount, division.seller_payout.amount, division.buyer_refund.amount


def test_a_release_of_150000_at_10_percent_is_15000_and_135000() -> None:
    assert parts(divisions.release(eur(150000), TEN_PERCENT)) == (15000, 135000, 0)


def test_a_refund_without_a_refund_fee_returns_everything() -> None:
    assert parts(divisions.refund(eur(150000), NO_FEE)) == (0, 0, 150000)


def test_a_refund_fee_is_taken_from_what_returns() -> None:
    assert parts(divisions.refund(eur(150000), Fee(Decimal("0.02"), 3, "refund/*"))) == (3000, 0, 147000)


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
    assert settled(deal).fee == Fee(Decimal("0.10"), 7, "release/*")
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
        FeePolicy(
            rules=tuple(FeeRule.model_validate({"outcome": o, "category": c, "rate": r}) for o, c, r in rules),
        ),
        fees_version=2,
    )


def test_the_rule_of_the_exact_category_wins_over_the_star_in_any_order() -> None:
    for rules in ([("release", "*", "0.10"), ("release", "web", "0.05")], [("release", "web", "0.05"), ("release", "*", "0.10")]):  # fmt: skip  # noqa: E501
        assert find_fee(fees(*rules), "release", "web") == Fee(Decimal("0.05"), 2, "release/web")
        assert find_fee(fees(*rules), "release", "design") == Fee(Decimal("0.10"), 2, "release/*")


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
    division = divisions.split(eur(total), Fee(rate, 1, "split/*"), share)
    fee, seller, buyer = parts(division)
    assert fee + seller + buyer == total
    assert min(fee, seller, buyer) >= 0
    assert abs(seller * 10**4 - (total - fee) * int(share * 10**4)) < 10**4


@settings(deadline=None)
@given(AMOUNTS, st.data(), RATES)
def test_every_other_division_conserves_its_total_and_no_part_is_negative(
    total: int, data: st.DataObject, rate: Decimal
) -> None:
    fee, returned = Fee(rate, 1, "release/*"), eur(data.draw(st.integers(0, total)))
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
    fee, before = Fee(rate, 1, "reversal/*"), eur(0)
    taken = returned = 0
    for amount in amounts:
        division = divisions.reversal(before, eur(amount), fee)
        taken += division.platform_fee.amount
        returned += division.buyer_refund.amount
        before += eur(amount)
    once = divisions.reversal(eur(0), before, fee)
    assert (taken, returned) == (once.platform_fee.amount, once.buyer_refund.amount)
