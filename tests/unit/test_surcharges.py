"""Fees that the buyer pays: added at funding, taken at release, the rest returned. Source: domain.md, section 5."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.commands import (
    ApproveMilestone,
    Cancel,
    Command,
    Complete,
    Fund,
    RaiseDispute,
    Refund,
    ResolveDispute,
    ReverseMilestone,
    ReviewDispute,
    SubmitMilestone,
)
from models.decision import Decision
from models.fee_policies import FeePolicy, FeeRule
from models.money import Money
from models.policies import Policies
from models.postings import PLATFORM, AccountKind
from models.states import State
from tests.builders import Deal, policies

Shares = tuple[int, int, int, int]


def shares(decision: Decision) -> Shares:
    """Total, fee, seller's and buyer's part of what a decision settled."""
    assert decision.settlement is not None
    division = decision.settlement.division
    return (
        division.total.amount,
        division.platform_fee.amount,
        division.seller_payout.amount,
        division.buyer_refund.amount,
    )


def approve(deal: Deal, milestone: int) -> Shares:
    """Submit and approve a milestone."""
    deal.do(SubmitMilestone, milestone=milestone)
    return shares(deal.do(ApproveMilestone, milestone=milestone))


def funded(payer: str = "buyer", rate: str = "0.10", **fields: Any) -> Deal:
    """The usual deal at work, its fees paid by the buyer or by both."""
    return Deal.at(State.IN_PROGRESS, policies(rate, payer=payer), **fields)


def orphans(deal: Deal) -> tuple[int, int, int, int]:
    """What an ended escrow must not have any more."""
    escrow = deal.escrow
    hold, frozen = (deal.balance(kind, escrow.id) for kind in (AccountKind.ESCROW_HOLD, AccountKind.DISPUTED_FUNDS))
    return hold, frozen, escrow.surcharge, escrow.refundable


NOTHING = (0, 0, 0, 0)


@pytest.mark.parametrize(("payer", "added"), [("seller", 0), ("both", 25000), ("buyer", 50000)])
def test_what_the_buyer_pays_of_the_fee_is_added_at_funding_and_held(payer: str, added: int) -> None:
    deal = Deal.at(State.CREATED, policies(payer=payer))
    escrow = deal.do(Fund).escrow
    assert (escrow.funded, escrow.held, escrow.surcharge, escrow.principal) == (500000 + added, 500000 + added, added, 500000)  # fmt: skip  # noqa: E501
    assert deal.balance(AccountKind.ESCROW_HOLD, escrow.id) == 500000 + added


def test_the_wallet_has_to_pay_for_the_fee_as_well() -> None:
    deal = Deal.at(State.CREATED, policies(payer="buyer"))
    deal.wallet = 549999
    refusal = deal.refused(Fund)
    assert (refusal.code, refusal.details["required"], refusal.details["available"]) == ("payment_required", 550000, 549999)  # fmt: skip  # noqa: E501
    deal.wallet = 550000
    deal.do(Fund)


def test_paid_by_the_buyer_the_seller_gets_all_and_the_last_release_leaves_nothing() -> None:
    deal = funded()
    assert approve(deal, 1) == (165000, 15000, 150000, 0)
    assert (deal.escrow.surcharge, deal.escrow.principal) == (35000, 350000)
    assert approve(deal, 2) == (220000, 20000, 200000, 0)
    assert approve(deal, 3) == (165000, 15000, 150000, 0)
    assert (deal.escrow.state, orphans(deal)) == (State.COMPLETED, NOTHING)
    assert deal.balance(AccountKind.FEE_REVENUE, PLATFORM) == 50000


def test_paid_by_both_each_bears_half_and_the_odd_unit_is_the_sellers() -> None:
    """10 % of 335 are 34 (half-up), 17 each; of 345 they are 35: 17 the buyer's, 18 the seller's."""
    deal = funded("both", amount=680, milestones=(335, 345))
    assert deal.escrow.surcharge == 34
    assert approve(deal, 1) == (352, 34, 318, 0)
    assert approve(deal, 2) == (362, 35, 327, 0)
    assert orphans(deal) == NOTHING


def test_the_surcharge_is_the_sum_of_the_fees_that_will_be_taken_each_rounded_by_itself() -> None:
    """10 % of 335 is 34 and so three times 34, and not the 101 of 1005; the rest of 5 that no milestone claims is 1."""
    deal = funded(amount=1010, milestones=(335, 335, 335))
    assert deal.escrow.surcharge == 34 * 3 + 1
    for number in (1, 2, 3):
        assert approve(deal, number) == (369, 34, 335, 0)
    assert shares(deal.do(Complete)) == (6, 1, 5, 0)
    assert orphans(deal) == NOTHING


def test_what_completion_does_not_use_returns_to_the_buyer() -> None:
    """Released in one the fee of 1005 is 101, where 102 were added for three releases."""
    deal = funded(amount=1005, milestones=(335, 335, 335))
    assert shares(deal.do(Complete)) == (1107, 101, 1005, 1)
    assert orphans(deal) == NOTHING


def test_a_lower_rate_by_then_returns_what_is_unused_with_the_last_release() -> None:
    deal = funded()
    deal.policies = policies("0.04", payer="buyer", version=2)
    assert approve(deal, 1) == (156000, 6000, 150000, 0)
    assert approve(deal, 2) == (208000, 8000, 200000, 0)
    assert approve(deal, 3) == (186000, 6000, 150000, 30000)
    assert orphans(deal) == NOTHING


def test_a_higher_rate_by_then_takes_no_more_of_the_buyer_than_was_added_and_nothing_of_the_seller() -> None:
    deal = funded()
    deal.policies = policies("0.20", payer="buyer", version=2)
    paid = [approve(deal, number) for number in (1, 2, 3)]
    assert [seller for _, _, seller, _ in paid] == [150000, 200000, 150000]
    assert sum(fee for _, fee, _, _ in paid) == 50000
    assert orphans(deal) == NOTHING


def test_where_the_rule_became_the_sellers_the_buyer_has_the_surcharge_back() -> None:
    deal = funded()
    deal.policies = policies("0.10", payer="seller", version=2)
    assert shares(deal.do(Complete)) == (550000, 50000, 450000, 50000)
    assert orphans(deal) == NOTHING


@pytest.mark.parametrize(("kind", "state"), [(Cancel, State.IN_PROGRESS), (Refund, State.FUNDED)])
def test_when_nothing_was_released_all_of_it_goes_back(kind: type[Command], state: State) -> None:
    deal = Deal.at(state, policies(payer="buyer"))
    assert shares(deal.do(kind)) == (550000, 0, 0, 550000)
    assert orphans(deal) == NOTHING


def test_edge_30_what_is_refundable_includes_the_surcharge() -> None:
    deal = Deal.at(State.FUNDED, policies(payer="buyer"))
    assert deal.refused(Refund, amount=500000).details == {"refundable": 550000}
    assert deal.do(Refund, amount=550000).escrow.refunded == 550000


def test_a_refund_fee_is_on_the_deals_amount_not_on_the_surcharge() -> None:
    deal = Deal.at(State.FUNDED, policies(payer="buyer", refund="0.05"))
    assert shares(deal.do(Refund)) == (550000, 25000, 0, 525000)


def test_cancelled_after_a_release_the_rest_goes_back_with_its_surcharge() -> None:
    deal = funded()
    approve(deal, 1)
    assert shares(deal.do(Cancel)) == (385000, 0, 0, 385000)
    assert orphans(deal) == NOTHING


def test_a_reversal_keeps_the_surcharge_until_the_last_unit_leaves() -> None:
    deal = funded()
    assert shares(deal.do(ReverseMilestone, milestone=1, amount=150000)) == (150000, 0, 0, 150000)
    assert deal.escrow.surcharge == 50000
    assert approve(deal, 2) == (220000, 20000, 200000, 0)
    assert shares(deal.do(ReverseMilestone, milestone=3, amount=150000)) == (180000, 0, 0, 180000)
    assert (deal.escrow.state, orphans(deal)) == (State.COMPLETED, NOTHING)


def test_after_a_reversal_the_last_release_returns_what_was_added_for_the_part_that_went_back() -> None:
    deal = funded(amount=100000, milestones=(100000,))
    deal.do(ReverseMilestone, milestone=1, amount=50000)
    assert approve(deal, 1) == (60000, 5000, 50000, 5000)
    assert orphans(deal) == NOTHING


def test_a_dispute_of_a_part_leaves_the_surcharge_to_all_and_one_of_everything_freezes_it_too() -> None:
    deal = funded()
    deal.do(RaiseDispute, milestones=(2,))
    escrow = deal.escrow
    assert (escrow.disputed, escrow.held, escrow.surcharge) == (200000, 350000, 50000)
    whole = funded()
    whole.do(RaiseDispute)
    assert (whole.escrow.disputed, whole.escrow.held, whole.escrow.disputes[0].surcharge) == (550000, 0, 50000)


@pytest.mark.parametrize(
    ("resolution", "expected", "left"),
    [
        ({"resolution": "seller_favor"}, (220000, 20000, 200000, 0), 30000),
        ({"resolution": "buyer_favor"}, (200000, 0, 0, 200000), 50000),
        ({"resolution": "partial_refund", "refund_amount": 50000}, (215000, 15000, 150000, 50000), 35000),
        ({"resolution": "split", "seller_share": "0.7"}, (220000, 20000, 140000, 60000), 30000),
    ],
)
def test_a_resolution_takes_its_fee_from_what_is_held_for_fees_and_the_rest_returns_at_the_end(
    resolution: dict[str, Any], expected: Shares, left: int
) -> None:
    deal = funded()
    deal.do(RaiseDispute, milestones=(2,))
    deal.do(ReviewDispute)
    assert shares(deal.do(ResolveDispute, **resolution)) == expected
    assert (deal.escrow.held, deal.escrow.surcharge) == (300000 + left, left)
    deal.do(Complete)
    assert orphans(deal) == NOTHING


@pytest.mark.parametrize(
    ("rule", "parts", "due"),
    [
        ({"fixed": 1000}, (10000, 490000), 2000),
        ({"rate": "0.10"}, (335, 334), 34 + 33),
        (
            {"tiers": {"mode": "graduated", "basis": "deal_amount",
                       "bands": [{"from": 0, "rate": "0.10"}, {"from": 2000000, "rate": "0.05"}]}},
            (2000000, 2000000, 2000001), 400000,
        ),
    ],
    ids=["fixed", "rounding", "tiers"],
)  # fmt: skip
@pytest.mark.parametrize("resolved", ["before the rest", "after the rest"])
def test_a_dispute_costs_the_platform_nothing_of_the_fee_that_the_buyer_added(
    rule: dict[str, Any], parts: tuple[int, ...], due: int, resolved: str
) -> None:
    """Whichever milestone is argued about, and whenever that ends, the fees of all come to what was planned."""
    for disputed in range(1, len(parts) + 1):
        document = {"rules": [rule | {"outcome": "release", "payer": "buyer"}]}
        fees = Policies(fees=FeePolicy.model_validate_json(json.dumps(document)), fees_version=1)
        deal = Deal.at(State.IN_PROGRESS, fees, amount=sum(parts), milestones=parts)
        assert deal.escrow.surcharge == due
        deal.do(RaiseDispute, milestones=(disputed,))
        others = [number for number in range(1, len(parts) + 1) if number != disputed]
        if resolved == "before the rest":
            resolve(deal)
        for number in others:
            approve(deal, number)
        if resolved == "after the rest":
            resolve(deal)
        assert deal.balance(AccountKind.FEE_REVENUE, "platform") == due
        assert orphans(deal) == NOTHING
        assert deal.escrow.terminal


def resolve(deal: Deal) -> None:
    """Let an operator decide for the seller."""
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="seller_favor")


def test_mediation_puts_the_surcharge_back_beside_the_money() -> None:
    deal = funded()
    deal.do(RaiseDispute)
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="mediation")
    assert (deal.escrow.held, deal.escrow.surcharge, deal.escrow.disputed) == (550000, 50000, 0)


def test_a_clawback_gives_the_buyer_the_added_fee_back_too() -> None:
    """50000 of 150000 whose fee of 15000 the buyer added: 50000 from the seller, 5000 from the platform."""
    deal = funded()
    approve(deal, 1)
    decision = deal.do(ReverseMilestone, milestone=1, amount=50000)
    assert shares(decision) == (55000, 0, 0, 55000)
    assert decision.settlement is not None
    taken = decision.settlement.taken_back
    assert taken is not None
    assert (taken.fee_returned, taken.payable) == (5000, 50000)


@pytest.mark.parametrize("minimum", [600, 0])
def test_a_minimum_or_fixed_fee_counts_for_every_planned_release(minimum: int) -> None:
    rule = FeeRule(outcome="release", rate=Decimal("0.01"), payer="buyer", **({"minimum": 600} if minimum else {"fixed": 500}))  # type: ignore[arg-type]  # fmt: skip  # noqa: E501
    base = policies()
    assert base.fees is not None
    others = tuple(one for one in base.fees.rules if one.outcome != "release")
    with_rule = replace(base, fees=FeePolicy(rules=(rule, *others)))
    deal = Deal.at(State.IN_PROGRESS, with_rule, amount=20000, milestones=(10000, 10000))
    assert deal.escrow.surcharge == 1200
    for number in (1, 2):
        assert approve(deal, number) == (10600, 600, 10000, 0)
    assert orphans(deal) == NOTHING


STEP = st.sampled_from(["approve", "reverse", "buyer_favor", "seller_favor", "partial_refund", "split", "mediation"])
END: tuple[type[Command], ...] = (Complete, Cancel)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(2, 10**5), min_size=1, max_size=3),
    st.integers(0, 500),
    st.decimals(0, 1, places=4),
    st.sampled_from(["buyer", "both"]),
    st.sampled_from(["0", "0.033", "1"]),
    st.lists(STEP, max_size=3),
    st.sampled_from(END),
    st.data(),
)
def test_the_buyer_never_pays_more_than_amount_and_fee_and_nothing_is_orphaned(
    parts: list[int],
    rest: int,
    rate: Decimal,
    payer: str,
    going_back: str,
    steps: list[str],
    end: type[Command],
    data: st.DataObject,
) -> None:
    charged = policies(str(rate), payer=payer, refund=going_back, reversal=going_back)
    deal = Deal.at(State.IN_PROGRESS, charged, amount=sum(parts) + rest, milestones=tuple(parts))
    buyer = deal.wallet
    paid_in, added = deal.escrow.funded, deal.escrow.surcharge
    for number, step in enumerate(steps[: len(parts)], start=1):
        _act(deal, number, step, data)
    if not deal.escrow.terminal:
        deal.do(end)
    assert orphans(deal) == NOTHING
    seller = deal.balance(AccountKind.PAYABLE, "bob")
    fee = deal.balance(AccountKind.FEE_REVENUE, PLATFORM)
    outlay = buyer - deal.funds.buyer.wallet
    assert outlay == seller + fee
    assert paid_in == sum(parts) + rest + added
    assert outlay <= sum(parts) + rest + added
    assert _buyers_part(deal) <= added
    assert _buyers_part(deal) + sum(one.principal for one in deal.escrow.releases) <= outlay


def _buyers_part(deal: Deal) -> int:
    return sum(one.buyer_fee for one in deal.escrow.releases)


def _act(deal: Deal, number: int, step: str, data: st.DataObject) -> None:
    if deal.escrow.terminal:
        return
    amount = deal.escrow.milestones[number - 1].amount
    if step == "approve":
        approve(deal, number)
    elif step == "reverse":
        deal.do(ReverseMilestone, milestone=number, amount=data.draw(st.integers(1, amount)))
    else:
        deal.do(RaiseDispute, milestones=(number,))
        deal.do(ReviewDispute)
        argument: dict[str, Any] = {}
        if step == "partial_refund":
            argument = {"refund_amount": data.draw(st.integers(1, amount - 1))}
        if step == "split":
            argument = {"seller_share": str(data.draw(st.decimals(0, 1, places=4)))}
        deal.do(ResolveDispute, resolution=step, **argument)


def test_the_money_of_a_surcharge_is_in_the_escrows_own_currency() -> None:
    deal = funded(amount=1005, milestones=(), currency="JPY")
    assert deal.escrow.money(deal.escrow.surcharge) == Money(101, "JPY")
