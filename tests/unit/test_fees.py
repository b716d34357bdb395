"""A fee is computed exactly, rounded once, and says how it came about. Source: domain.md, section 5; edge cases."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.fee_policies import FeePolicy, FeeRule
from models.fees import Fee, Standing, find_fee
from models.money import MAX_AMOUNT, CurrencyMismatchError, Money
from models.policies import Policies
from tests.builders import eur

AMOUNTS = st.integers(0, MAX_AMOUNT)
RATES = st.decimals(0, 1, places=4)

# The table of the HTTP contract: 20 % of the first 500.00, 10 % above.
TWO_BANDS = [(0, "0.20"), (50000, "0.10")]


def a_rule(outcome: str = "release", category: str = "*", **fields: Any) -> FeeRule:
    """A rule as JSON brings it."""
    return FeeRule.model_validate_json(json.dumps({"outcome": outcome, "category": category} | fields))


def a_fee(rate: str | None = None, *, version: int = 1, standing: Standing | None = None, **fields: Any) -> Fee:
    """A fee for a rate; ``fields`` are those of its rule."""
    return Fee(a_rule(**({} if rate is None else {"rate": rate}), **fields), version, standing)


def tiers(mode: str, basis: str, bands: list[tuple[int, str]]) -> dict[str, Any]:
    """Tiers from pairs of lower bound and rate."""
    return {"mode": mode, "basis": basis, "bands": [{"from": start, "rate": rate} for start, rate in bands]}


def graduated(bands: list[tuple[int, str]], standing: Standing | None = None, basis: str = "deal_amount") -> Fee:
    """A fee by graduated tiers."""
    return a_fee(tiers=tiers("graduated", basis, bands), standing=standing)


def whole_volume(bands: list[tuple[int, str]], standing: Standing | None = None, basis: str = "deal_amount") -> Fee:
    """A fee of one rate for everything."""
    return a_fee(tiers=tiers("whole_volume", basis, bands), standing=standing)


def at(deal: int, released: int = 0, volume: int = 0) -> Standing:
    """A standing in euro."""
    return Standing(eur(deal), eur(released), eur(volume))


@pytest.mark.parametrize(
    ("amount", "fee"), [(150000, 15000), (333, 33), (335, 34), (100000, 10000), (50000, 5000), (0, 0), (4, 0), (5, 1)]
)
def test_ten_percent_is_rounded_half_up(amount: int, fee: int) -> None:
    assert a_fee("0.10").on(eur(amount)) == eur(fee)


def test_a_fixed_amount_is_added_to_the_rate_before_rounding() -> None:
    assert a_fee("0.029", fixed=30).on(eur(10000)) == eur(320)
    assert a_fee("0.10", fixed=1).on(eur(5)) == eur(2), "0.5 + 1 is 1.5"
    assert a_fee(fixed=250).on(eur(10000)) == eur(250)


def test_minimum_and_maximum_limit_the_fee() -> None:
    fee = a_fee("0.10", minimum=500, maximum=2000)
    assert [fee.on(eur(amount)).amount for amount in (1000, 5000, 5006, 19994, 20006, 100000)] == [
        500, 500, 501, 1999, 2000, 2000,
    ]  # fmt: skip


def test_the_limits_count_after_the_fixed_amount() -> None:
    assert a_fee("0.10", fixed=100, minimum=500, maximum=600).on(eur(4500)) == eur(550)
    assert a_fee("0.10", fixed=100, minimum=500, maximum=600).on(eur(3000)) == eur(500)
    assert a_fee("0.10", fixed=100, minimum=500, maximum=600).on(eur(9000)) == eur(600)


def test_edge_19_one_unit_and_currencies_of_other_exponents_are_rounded_in_their_own_units() -> None:
    """Half of one unit is one unit; 3 % of 450 yen is 13.5, so 14; 2.5 % of 1.234 dinar is 30.85 fils, so 31."""
    assert a_fee("0.5").on(eur(1)) == eur(1)
    assert a_fee("0.49").on(eur(1)) == eur(0)
    assert a_fee("0.03").on(Money(450, "JPY")) == Money(14, "JPY")
    assert a_fee("0.025").on(Money(1234, "KWD")) == Money(31, "KWD")


def test_edge_20_a_fee_larger_than_the_gross_takes_the_gross_and_nothing_costs_nothing() -> None:
    assert a_fee("0.029", fixed=30).on(eur(20)) == eur(20)
    assert a_fee("0.10", minimum=500).on(eur(499)) == eur(499)
    assert a_fee("0").on(eur(150000)) == eur(0)
    assert a_fee("1").on(eur(150000)) == eur(150000)
    assert a_fee("0.10", fixed=30, minimum=500).on(eur(0)) == eur(0)


def test_edge_24_a_tier_boundary_inside_one_release_divides_it_at_the_boundary() -> None:
    """Of 60000 the first 50000 pay 20 %, the other 10000 pay 10 %: 11000. So do two releases on either side of it."""
    assert graduated(TWO_BANDS).on(eur(60000)) == eur(11000)
    assert graduated(TWO_BANDS, at(60000, released=30000)).on(eur(30000)) == eur(5000), "20000 at 20 %, 10000 at 10 %"
    assert graduated(TWO_BANDS, at(60000)).on(eur(30000)) == eur(6000)


def test_edge_24_two_releases_of_one_seller_count_each_unit_of_volume_once() -> None:
    """Whichever of two deals is released first, together they pay what one release of the sum would pay."""
    first, second = 30000, 45000
    for one, other in ((first, second), (second, first)):
        fees = [
            graduated(TWO_BANDS, at(one, volume=0), "party_volume").on(eur(one)),
            graduated(TWO_BANDS, at(other, volume=one), "party_volume").on(eur(other)),
        ]
        assert fees[0] + fees[1] == graduated(TWO_BANDS, None, "party_volume").on(eur(first + second)) == eur(12500)


def test_a_deals_own_releases_do_not_move_a_table_by_party_volume_and_the_reverse() -> None:
    assert graduated(TWO_BANDS, at(90000, released=50000), "party_volume").on(eur(10000)) == eur(2000)
    assert graduated(TWO_BANDS, at(90000, volume=50000), "deal_amount").on(eur(10000)) == eur(2000)


@pytest.mark.parametrize(("before", "fee"), [(0, 200), (49999, 100), (49000, 200), (49500, 150), (50000, 100)])
def test_a_lower_bound_belongs_to_its_own_band(before: int, fee: int) -> None:
    assert graduated(TWO_BANDS, at(100000, released=before)).on(eur(1000)) == eur(fee)


def test_one_rate_for_everything_is_chosen_by_the_deals_amount() -> None:
    """A deal of 500.00 pays 10 % from its first release on, one of 499.99 pays 20 % to its last."""
    assert whole_volume(TWO_BANDS, at(50000)).on(eur(10000)) == eur(1000)
    assert whole_volume(TWO_BANDS, at(49999, released=39999, volume=10**9)).on(eur(10000)) == eur(2000)
    assert whole_volume(TWO_BANDS).on(eur(50000)) == eur(5000), "without a standing the amount is the deal"


def test_one_rate_for_everything_by_party_volume_is_chosen_by_what_came_before_this_release() -> None:
    assert whole_volume(TWO_BANDS, at(10**6, volume=49999), "party_volume").on(eur(100000)) == eur(20000)
    assert whole_volume(TWO_BANDS, at(10**6, volume=50000), "party_volume").on(eur(100000)) == eur(10000)
    assert whole_volume(TWO_BANDS, None, "party_volume").on(eur(100000)) == eur(20000), "nothing came before"


def test_the_parts_of_several_bands_are_rounded_once_together() -> None:
    """Half a unit of each of two bands is one unit; rounded one by one they would be two."""
    assert graduated([(0, "0.5"), (1, "0.5")]).on(eur(2)) == eur(1)


def test_tiers_take_fixed_minimum_and_maximum_too() -> None:
    fee = a_fee(tiers=tiers("graduated", "deal_amount", TWO_BANDS), fixed=30, minimum=1000, maximum=11000)
    assert [fee.on(eur(amount)).amount for amount in (4000, 10000, 60000)] == [1000, 2030, 11000]


@settings(deadline=None)
@given(st.data(), st.integers(0, 400), st.integers(0, 400))
def test_graduated_tiers_charge_every_unit_by_the_band_it_lies_in(data: st.DataObject, before: int, base: int) -> None:
    starts = [0, *sorted(data.draw(st.sets(st.integers(1, 700), max_size=6)))]
    bands = [(start, str(data.draw(RATES))) for start in starts]
    exact = sum(
        (Fraction([rate for start, rate in bands if start <= unit][-1]) for unit in range(before, before + base)),
        Fraction(0),
    )
    fee = graduated(bands, at(1000, released=before)).on(eur(base)).amount
    assert exact - Fraction(1, 2) < fee <= exact + Fraction(1, 2)


@settings(deadline=None)
@given(AMOUNTS, RATES, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_fee_is_never_below_zero_nor_above_what_it_is_taken_from(
    base: int, rate: Decimal, fixed: int, one: int, other: int
) -> None:
    minimum, maximum = sorted((one, other))
    fee = a_fee(str(rate), fixed=fixed, minimum=minimum, maximum=maximum).on(eur(base)).amount
    assert 0 <= fee <= min(base, maximum)


@settings(deadline=None)
@given(
    st.sampled_from(["graduated", "whole_volume"]), st.sampled_from(["deal_amount", "party_volume"]),
    st.tuples(RATES, RATES, st.integers(1, 2000)), st.tuples(*[st.integers(0, 1000)] * 3),
    st.tuples(*[st.integers(0, 2000)] * 3), st.integers(0, 2000), st.integers(0, 500),
)  # fmt: skip
def test_one_more_unit_never_costs_less_than_nothing_nor_more_than_itself(
    mode: str, basis: str, bands: tuple[Decimal, Decimal, int], limits: tuple[int, int, int],
    standing: tuple[int, int, int], base: int, more: int,
) -> None:  # fmt: skip
    """Reversals and projections are differences of fees, so no part of one is ever below zero."""
    low, high, bound = bands
    fixed, minimum, maximum = sorted(limits)
    table = tiers(mode, basis, [(0, str(low)), (bound, str(high))])
    fee = a_fee(tiers=table, fixed=fixed, minimum=minimum, maximum=maximum, standing=at(*standing))
    assert 0 <= (fee.on(eur(base + more)) - fee.on(eur(base))).amount <= more


@settings(deadline=None)
@given(AMOUNTS, RATES)
def test_a_plain_rate_is_what_money_times_the_rate_is(base: int, rate: Decimal) -> None:
    assert a_fee(str(rate)).on(eur(base)) == eur(base).times(rate)


@pytest.mark.parametrize(
    ("payer", "parts"), [("seller", (0, 33)), ("buyer", (33, 0)), ("both", (16, 17))]
)  # fmt: skip
def test_both_pay_half_each_and_the_odd_unit_is_the_sellers(payer: str, parts: tuple[int, int]) -> None:
    buyer, seller = a_fee("0.10", payer=payer).parts(eur(33))
    assert (buyer.amount, seller.amount) == parts


def test_the_rate_is_the_one_that_applies_and_none_where_several_do() -> None:
    assert a_fee("0.10").rate == Decimal("0.10")
    assert a_fee(fixed=30).rate == Decimal(0)
    assert graduated(TWO_BANDS).rate is None
    assert graduated([(0, "0.20")]).rate == Decimal("0.20")
    assert whole_volume(TWO_BANDS).rate is None, "it takes the amount to know"
    assert whole_volume(TWO_BANDS, at(50000)).rate == Decimal("0.10")
    assert whole_volume(TWO_BANDS, at(0, volume=49999), "party_volume").rate == Decimal("0.20")


def test_the_steps_of_a_plain_rate_name_version_rule_rate_and_rounding() -> None:
    assert a_fee("0.10", version=7, category="web").steps(eur(335)) == (
        "fee policy version 7, rule release/web, rate 0.10",
        "0.10 x 335 = 34 (rounded half-up)",
    )


def test_the_steps_show_each_bands_part_the_fixed_amount_and_the_rounding() -> None:
    fee = a_fee(tiers=tiers("graduated", "deal_amount", TWO_BANDS), fixed=30, version=3, standing=at(60000, 30005))
    assert fee.steps(eur(29998)) == (
        "fee policy version 3, rule release/*, graduated tiers by deal_amount",
        "0.20 x 19995 = 3999 (of deal_amount, from 30005 to 50000)",
        "0.10 x 10003 = 1000.3 (of deal_amount, from 50000 to 60003)",
        "fixed 30",
        "together 5029.3 = 5029 (rounded half-up)",
    )


def test_the_steps_say_which_band_was_chosen_and_by_what() -> None:
    assert whole_volume(TWO_BANDS, at(10**6, volume=50000), "party_volume").steps(eur(15)) == (
        "fee policy version 1, rule release/*, whole_volume tiers by party_volume",
        "0.10 x 15 = 1.5 (the band from 50000, since party_volume is 50000)",
        "together 1.5 = 2 (rounded half-up)",
    )


def test_the_steps_name_a_limit_only_where_it_bites() -> None:
    fee = a_fee("0.10", minimum=500, maximum=2000, payer="both")
    assert fee.steps(eur(10000)) == (
        "fee policy version 1, rule release/*, rate 0.10, payer both",
        "0.10 x 10000 = 1000 (rounded half-up)",
    )
    assert fee.steps(eur(1000))[1:] == (
        "0.10 x 1000 = 100", "minimum 500 in place of 100", "together 500 = 500 (rounded half-up)",
    )  # fmt: skip
    assert fee.steps(eur(30000))[1:] == (
        "0.10 x 30000 = 3000", "maximum 2000 in place of 3000", "together 2000 = 2000 (rounded half-up)",
    )  # fmt: skip
    assert fee.steps(eur(20))[-1] == "never more than the amount itself: 20"
    assert a_fee(fixed=30).steps(eur(10000)) == (
        "fee policy version 1, rule release/*, fixed amount", "fixed 30", "together 30 = 30 (rounded half-up)",
    )  # fmt: skip


@settings(deadline=None)
@given(AMOUNTS, AMOUNTS, RATES, RATES, st.integers(1, MAX_AMOUNT))
def test_every_amount_has_steps_that_end_with_the_fee(
    base: int, before: int, low: Decimal, high: Decimal, bound: int
) -> None:
    fee = graduated([(0, str(low)), (bound, str(high))], at(base, released=before))
    assert f" {fee.on(eur(base)).amount} " in fee.steps(eur(base))[-1]


def test_a_standing_in_another_currency_is_an_error_of_the_program() -> None:
    with pytest.raises(CurrencyMismatchError):
        graduated(TWO_BANDS, at(60000)).on(Money(60000, "USD"))


def test_the_next_release_finds_the_one_before_it_in_both_counts() -> None:
    assert at(500, released=100, volume=1000).after(eur(50)) == at(500, released=150, volume=1050)


def test_a_fee_is_found_with_the_standing_it_will_be_computed_by() -> None:
    rules = (a_rule(category="web", tiers=tiers("graduated", "deal_amount", TWO_BANDS)), a_rule(rate="0.10"))
    in_force = Policies(fees=FeePolicy(rules=rules), fees_version=4)
    fee = find_fee(in_force, "release", "web", at(60000, released=50000))
    assert (fee.name, fee.policy_version, fee.payer) == ("release/web", 4, "seller")
    assert fee.on(eur(10000)) == eur(1000)
    assert find_fee(in_force, "release", "design").name == "release/*"
