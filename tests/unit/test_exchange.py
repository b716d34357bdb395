"""Exchange rates to the last digit: conversion, division in two currencies, crosses, and when a rate is too old."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.currencies import EXPONENTS, exponent
from models.divisions import Division
from models.errors import RefusedError
from models.exchange import Rate, convert, cross, inverse, refuse_stale, translate
from models.money import MAX_AMOUNT, Money

TODAY = date(2026, 11, 20)
WEEK = timedelta(days=7)
CURRENCIES = st.sampled_from(sorted(EXPONENTS))
FIGURES = st.decimals(Decimal("0.000001"), Decimal(1000000), places=6)


def a_rate(base: str = "EUR", quote: str = "USD", rate: str = "1.08", as_of: date = TODAY, source: str = "ecb") -> Rate:
    """A rate of today, EUR → USD 1.08 unless told otherwise."""
    return Rate(base=base, quote=quote, rate=Decimal(rate), as_of=as_of, source=source)


def a_division(total: int, fee: int, seller: int, buyer: int, currency: str = "EUR") -> Division:
    """A settlement's amounts."""
    return Division(*(Money(amount, currency) for amount in (total, fee, seller, buyer)))


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    """Any rate between two different currencies."""
    base, quote = draw(st.tuples(CURRENCIES, CURRENCIES).filter(lambda pair: pair[0] != pair[1]))
    return a_rate(base, quote, str(draw(FIGURES)))


@st.composite
def divisions(draw: st.DrawFn) -> tuple[Division, Rate]:
    """Any division, with a rate from its currency."""
    rate = draw(rates())
    fee, seller, buyer = (draw(st.integers(0, MAX_AMOUNT)) for _ in range(3))
    return a_division(fee + seller + buyer, fee, seller, buyer, rate.base), rate


@pytest.mark.parametrize(
    ("amount", "base", "figure", "quote", "expected"),
    [
        (150000, "EUR", "1.08", "USD", 162000),
        (150000, "EUR", "180", "JPY", 270000),
        (270000, "JPY", "0.005555555556", "EUR", 150000),
        (100, "USD", "0.307", "KWD", 307),
        (307, "KWD", "3.25", "USD", 100),
        (1, "JPY", "0.002", "KWD", 2),
        (1, "EUR", "0.5", "USD", 1),
        (1, "EUR", "0.49", "USD", 0),
        (MAX_AMOUNT, "EUR", "1.000000000000001", "USD", MAX_AMOUNT + 1),
        (0, "EUR", "1.08", "USD", 0),
    ],
)
def test_an_amount_is_converted_by_both_exponents_and_rounded_half_up_once(
    amount: int, base: str, figure: str, quote: str, expected: int
) -> None:
    """Minor units of one currency become minor units of the other: cents, yen without any, dinars with a thousand."""
    assert convert(Money(amount, base), a_rate(base, quote, figure)) == Money(expected, quote)


def test_an_amount_in_another_currency_than_the_rates_is_an_error() -> None:
    with pytest.raises(ValueError, match="from EUR says nothing about USD"):
        convert(Money(1, "USD"), a_rate())


def test_the_specifications_settlement_is_stored_in_both_currencies() -> None:
    """150000 / 15000 / 135000 / 0 at 1.08 is 162000 / 16200 / 145800 / 0."""
    translated = translate(a_division(150000, 15000, 135000, 0), a_rate())
    amounts = (translated.total, translated.platform_fee, translated.seller_payout, translated.buyer_refund)
    assert amounts == tuple(Money(amount, "USD") for amount in (162000, 16200, 145800, 0))


def test_parts_that_would_each_round_up_still_sum_to_the_total() -> None:
    """Three cents in thirds at 0.5 are two: each part alone would round to one."""
    translated = translate(a_division(3, 1, 1, 1), a_rate(rate="0.5"))
    parts = (translated.platform_fee, translated.seller_payout, translated.buyer_refund)
    assert (translated.total.amount, [part.amount for part in parts]) == (2, [1, 1, 0])


def test_nothing_is_nothing_in_every_currency() -> None:
    assert translate(a_division(0, 0, 0, 0), a_rate()).total == Money(0, "USD")


@given(divisions())
def test_a_translated_division_sums_to_its_total_and_each_part_is_within_a_unit(case: tuple[Division, Rate]) -> None:
    """Whatever the amounts and currencies, what was nothing stays nothing, and nobody gains or loses a whole unit."""
    division, rate = case
    translated = translate(division, rate)
    pairs = [
        (division.platform_fee, translated.platform_fee),
        (division.seller_payout, translated.seller_payout),
        (division.buyer_refund, translated.buyer_refund),
    ]
    assert translated.total == convert(division.total, rate)
    assert sum(after.amount for _, after in pairs) == translated.total.amount
    scale = Fraction(rate.rate) * Fraction(10) ** (exponent(rate.quote) - exponent(rate.base))
    for before, after in pairs:
        assert after.currency == rate.quote
        assert after.amount >= 0
        assert before.amount or not after.amount
        # The total's own rounding is at most half a unit, of which a part bears at most all.
        assert abs(after.amount - before.amount * scale) < Fraction(3, 2)


@given(rates(), st.integers(0, MAX_AMOUNT))
def test_a_conversion_is_never_more_than_half_a_unit_off(rate: Rate, amount: int) -> None:
    exact = amount * Fraction(rate.rate) * Fraction(10) ** (exponent(rate.quote) - exponent(rate.base))
    off = convert(Money(amount, rate.base), rate).amount - exact
    assert Fraction(-1, 2) < off <= Fraction(1, 2)


@given(CURRENCIES, st.integers(0, MAX_AMOUNT))
def test_the_rate_of_a_currency_to_itself_changes_nothing(currency: str, amount: int) -> None:
    assert convert(Money(amount, currency), Rate.identity(currency, TODAY)) == Money(amount, currency)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ("1.25", "0.8"),
        ("3", "0.3333333333"),
        ("1.08", "0.9259259259"),
        ("36.45", "0.02743484225"),
        ("17487.21", "0.00005718465095"),
        ("0.00005718465095", "17487.21"),
        ("1", "1"),
        ("1000000000", "0.000000001"),
        ("0.000000001", "1000000000"),
        ("1.00000000004", "1"),
    ],
)
def test_a_rate_turned_round_has_ten_significant_digits(figure: str, expected: str) -> None:
    turned = inverse(a_rate(rate=figure))
    assert (turned.base, turned.quote, turned.as_of, turned.source) == ("USD", "EUR", TODAY, "ecb")
    assert turned.rate == Decimal(expected)


@given(rates())
def test_turning_a_rate_round_is_off_by_at_most_half_of_the_tenth_digit(rate: Rate) -> None:
    exact = 1 / Fraction(rate.rate)
    assert len(inverse(rate).rate.normalize().as_tuple().digits) <= 10
    assert abs(Fraction(inverse(rate).rate) / exact - 1) <= Fraction(5, 10**10)


def test_baht_become_dollars_over_the_euro() -> None:
    """Two rates of one base make a third, as old as the older of the two; whoever said one said a part of it."""
    baht = a_rate(quote="THB", rate="36.45", as_of=TODAY - timedelta(days=3))
    crossed = cross(baht, a_rate())
    assert (crossed.base, crossed.quote, crossed.rate) == ("THB", "USD", Decimal("0.02962962963"))
    assert (crossed.as_of, crossed.source) == (TODAY - timedelta(days=3), "ecb")
    assert cross(baht, a_rate(source="bank")).source == "ecb, bank"
    with pytest.raises(ValueError, match="no currency in common"):
        cross(baht, a_rate("GBP"))


def test_a_rate_is_a_plain_decimal_string_in_json() -> None:
    """No float, no exponent, no idle zero, and the same again when it is read back."""
    for figure, written in (("1.080", "1.08"), ("100", "100"), ("1E+2", "100"), ("5E-7", "0.0000005")):
        rate = a_rate(rate=figure)
        assert f'"rate":"{written}"' in rate.model_dump_json()
        assert Rate.model_validate_json(rate.model_dump_json()) == rate
    assert str(a_rate()) == "1 EUR = 1.08 USD of 2026-11-20 (ecb)"


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 1.08},
        {"rate": "0"},
        {"rate": "-1.08"},
        {"rate": "NaN"},
        {"rate": "Infinity"},
        {"rate": "1e3"},
        {"rate": "1_000"},
        {"rate": " 1.08"},
        {"rate": "1,08"},
        {"rate": "\u0661.\u0660\u0668"},
        {"rate": "9" * 19},
        {"base": "XXX"},
        {"quote": "usd"},
        {"quote": "EUR"},
        {"as_of": "yesterday"},
        {"source": ""},
        {"note": "unknown field"},
    ],
    ids=str,
)
def test_what_is_no_rate_is_refused(wrong: dict[str, Any]) -> None:
    """Floats, notations of other places, and a currency that would be worth something else than itself."""
    right = {"base": "EUR", "quote": "USD", "rate": "1.08", "as_of": TODAY, "source": "ecb"}
    assert Rate.model_validate(right) == a_rate()
    with pytest.raises(ValidationError):
        Rate.model_validate(right | wrong)


def test_edge_26_without_a_rate_nothing_can_be_settled() -> None:
    """The refusal says which rate is missing, that nothing moved, and what to do about it."""
    with pytest.raises(RefusedError) as refused:
        refuse_stale(None, "THB", "USD", TODAY, WEEK)
    refusal = refused.value.refusal
    assert refusal.code == "exchange_rate_unavailable"
    assert refusal.kind.retry_may_help
    assert refusal.details == {"base": "THB", "quote": "USD", "as_of": None, "max_age": "P7D"}
    for part in ("from THB to USD", "nothing moved", "PUT /v1/exchange-rates", "HOLDFAST_RATES_SOURCE"):
        assert part in refusal.message


def test_edge_26_a_rate_older_than_allowed_is_no_rate() -> None:
    """As old as allowed is good, a day more is not; the refusal says how old it is and how old it may be."""
    old = a_rate(as_of=TODAY - WEEK)
    refuse_stale(old, "EUR", "USD", TODAY, WEEK)
    with pytest.raises(RefusedError) as refused:
        refuse_stale(old, "EUR", "USD", TODAY + timedelta(days=1), WEEK)
    refusal = refused.value.refusal
    assert refusal.details == {"base": "EUR", "quote": "USD", "as_of": "2026-11-13", "max_age": "P7D"}
    assert "of 2026-11-13 (ecb), 8 days old, and at most 7 days are allowed" in refusal.message


def test_edge_26_a_rate_of_tomorrow_is_not_stale() -> None:
    """Farther east it is tomorrow already."""
    refuse_stale(a_rate(as_of=TODAY + timedelta(days=1)), "EUR", "USD", TODAY, timedelta(days=1))


def test_edge_26_between_a_currency_and_itself_no_rate_is_needed() -> None:
    refuse_stale(None, "EUR", "EUR", TODAY, timedelta(0))


def test_edge_27_a_reversal_by_the_originals_rate_takes_back_what_the_release_gave() -> None:
    """By the rate that the settlement kept, not by today's, the amounts of release and reversal are the same."""
    released = a_division(150000, 15000, 135000, 0)
    kept, todays = a_rate(), a_rate(rate="1.12", as_of=TODAY + timedelta(days=30))
    assert translate(released, kept) == translate(a_division(150000, 15000, 135000, 0), kept)
    assert translate(released, kept) != translate(released, todays)
