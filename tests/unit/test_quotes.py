"""A quote is what would be settled now, and the buyer adds what the planned releases take. Source: domain.md."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import divisions
from models.commands import ApproveMilestone
from models.errors import RefusedError
from models.fee_policies import FeePolicy, Outcome
from models.fees import find_fee
from models.money import Money
from models.policies import Policies
from models.quotes import quote, surcharge
from models.states import State
from tests.builders import Deal, eur, policies
from tests.unit.test_divisions import parts, settled
from tests.unit.test_fees import TWO_BANDS, a_rule, at, tiers

PLAN = (eur(150000), eur(200000), eur(150000))


def with_release(**fields: Any) -> Policies:
    """Policies whose release rule has these fields; refund, split and reversal as usual."""
    others = (a_rule("refund", rate="0"), a_rule("split", rate="0.10"), a_rule("reversal", rate="0"))
    return Policies(fees=FeePolicy(rules=(a_rule(**fields), *others)), fees_version=3)


@pytest.mark.parametrize(
    ("outcome", "share", "expected"),
    [
        ("release", None, (10000, 90000, 0)),
        ("refund", None, (0, 0, 100000)),
        ("split", Decimal("0.7"), (10000, 63000, 27000)),
        ("reversal", None, (0, 0, 100000)),
    ],
)
def test_a_quote_is_the_specifications_division(
    outcome: Outcome, share: Decimal | None, expected: tuple[int, int, int]
) -> None:
    answer = quote(policies(), outcome, "web", eur(100000), seller_share=share)
    assert parts(answer.division) == expected
    assert (answer.policy_version, answer.rule, answer.payer) == (1, f"{outcome}/*", "seller")


def test_a_quote_is_what_the_release_then_settles_with_the_same_steps() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    told = quote(deal.policies, "release", deal.escrow.category, eur(150000))
    deal.do(ApproveMilestone)
    assert (told.division, told.steps) == (settled(deal).division, settled(deal).steps)
    assert told.rate == Decimal("0.10")


@pytest.mark.parametrize(("payer", "expected"), [("buyer", (15000, 150000, 0)), ("both", (15000, 142500, 0))])
def test_a_quote_includes_what_the_buyer_would_have_added(payer: str, expected: tuple[int, int, int]) -> None:
    answer = quote(with_release(rate="0.10", payer=payer), "release", "web", eur(150000))
    assert parts(answer.division) == expected
    assert answer.payer == payer


def test_a_quoted_split_takes_the_buyers_part_from_what_he_would_have_added() -> None:
    rules = (a_rule(rate="0.10", payer="buyer"), a_rule("split", rate="0.10", payer="buyer"))
    in_force = Policies(fees=FeePolicy(rules=rules), fees_version=3)
    answer = quote(in_force, "split", "web", eur(100000), seller_share=Decimal("0.7"))
    assert (parts(answer.division), answer.division.total) == ((10000, 70000, 30000), eur(110000))


def test_a_quote_stands_where_the_deal_and_the_seller_stand() -> None:
    graduated = with_release(tiers=tiers("graduated", "party_volume", TWO_BANDS))
    assert parts(quote(graduated, "release", "web", eur(60000)).division) == (11000, 49000, 0)
    answer = quote(graduated, "release", "web", eur(60000), at(60000, volume=50000))
    assert (parts(answer.division), answer.rate) == ((6000, 54000, 0), None)


def test_a_seller_share_belongs_to_a_split_and_only_there() -> None:
    for outcome, share in (("split", None), ("release", Decimal("0.5")), ("split", Decimal("1.1"))):
        with pytest.raises(RefusedError, match="seller_share") as caught:
            quote(policies(), outcome, "web", eur(100), seller_share=share)  # type: ignore[arg-type]
        assert caught.value.refusal.code == "invalid_command"


def test_a_quote_without_a_rule_is_refused_as_the_settlement_would_be() -> None:
    with pytest.raises(RefusedError) as caught:
        quote(policies(refund=None), "refund", "web", eur(100))
    assert caught.value.refusal.code == "fee_policy_not_found"


@pytest.mark.parametrize(("payer", "added"), [("buyer", 50000), ("both", 25000), ("seller", 0)])
def test_the_buyer_adds_his_part_of_every_planned_release(payer: str, added: int) -> None:
    assert surcharge(with_release(rate="0.10", payer=payer), "web", PLAN, at(500000)) == eur(added)


def test_without_a_release_rule_nothing_is_added() -> None:
    assert surcharge(policies(None), "web", PLAN, at(500000)) == eur(0)
    assert surcharge(Policies(), "web", PLAN, at(500000)) == eur(0)
    assert surcharge(with_release(category="design", rate="0.10", payer="buyer"), "web", PLAN, at(500000)) == eur(0)


def test_each_planned_release_is_rounded_as_it_will_be_when_it_comes() -> None:
    """Three releases of 3.35 take 34 each, one of 10.05 would take 101."""
    by_buyer = with_release(rate="0.10", payer="buyer")
    assert surcharge(by_buyer, "web", [eur(335)] * 3, at(1005)) == eur(102)
    assert surcharge(by_buyer, "web", [eur(1005)], at(1005)) == eur(101)


def test_planned_releases_climb_the_bands_one_after_the_other() -> None:
    """30000 and 30000 of one deal: 6000, then 4000 + 1000; a seller already at 50000 pays 10 % from the first."""
    by_deal = with_release(payer="buyer", tiers=tiers("graduated", "deal_amount", TWO_BANDS))
    assert surcharge(by_deal, "web", [eur(30000)] * 2, at(60000, volume=50000)) == eur(11000)
    by_volume = with_release(payer="buyer", tiers=tiers("graduated", "party_volume", TWO_BANDS))
    assert surcharge(by_volume, "web", [eur(30000)] * 2, at(60000, volume=50000)) == eur(6000)
    whole = with_release(payer="buyer", tiers=tiers("whole_volume", "party_volume", TWO_BANDS))
    assert surcharge(whole, "web", [eur(30000)] * 3, at(90000)) == eur(6000 + 6000 + 3000)


def played(in_force: Policies, plan: Sequence[Money], held: Money) -> tuple[Money, Money]:
    """What the seller gets and what returns to the buyer when every planned release comes to pass."""
    standing, sellers, back = at(sum(part.amount for part in plan)), eur(0), eur(0)
    for number, part in enumerate(plan, start=1):
        fee = find_fee(in_force, "release", "web", standing)
        division = divisions.release(part, fee, held, last=number == len(plan))
        held, standing = held - (division.total - part), standing.after(part)
        sellers, back = sellers + division.seller_payout, back + division.buyer_refund
    assert not held.amount
    return sellers, back


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=6),
    st.sampled_from(["buyer", "both"]),
    st.sampled_from(["graduated", "whole_volume"]),
    st.sampled_from(["deal_amount", "party_volume"]),
    st.integers(0, 500),
)
def test_the_surcharge_is_used_up_exactly_when_all_goes_as_planned(
    amounts: list[int], payer: str, mode: str, basis: str, fixed: int
) -> None:
    in_force = with_release(payer=payer, fixed=fixed, tiers=tiers(mode, basis, [(0, "0.2"), (300000, "0.0725")]))
    plan = [eur(amount) for amount in amounts]
    added = surcharge(in_force, "web", plan, at(sum(amounts)))
    sellers, back = played(in_force, plan, added)
    assert back == eur(0)
    assert payer == "both" or sellers == eur(sum(amounts)), "the seller of a fee paid by the buyer gets all of it"
