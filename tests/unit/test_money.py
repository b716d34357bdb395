"""Money is exact: integer minor units and an ISO 4217 code. Source: domain.md, section 2."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.currencies import EXPONENTS, exponent
from models.money import MAX_AMOUNT, CurrencyMismatchError, Money

AMOUNTS = st.integers(0, MAX_AMOUNT)
SHARES = st.lists(st.decimals(0, 1, places=4), min_size=1, max_size=6).filter(any)


@pytest.mark.parametrize(
    ("text", "currency", "units"),
    [
        ("1500.00", "EUR", 150000),
        ("1500", "EUR", 150000),
        ("0.01", "USD", 1),
        ("0.1", "USD", 10),
        ("500", "JPY", 500),
        ("1.234", "KWD", 1234),
        ("100000", "THB", 10000000),
        ("-3.50", "EUR", -350),
    ],
)
def test_major_units_are_read_with_the_currencys_own_exponent(text: str, currency: str, units: int) -> None:
    assert Money.parse(text, currency) == Money(units, currency)


@pytest.mark.parametrize(
    ("text", "currency"),
    [("0.5", "JPY"), ("1.001", "EUR"), ("1.2345", "KWD"), ("1234567890123456.0000000000000001", "EUR")],
)
def test_more_decimals_than_the_currency_has_are_refused_not_rounded(text: str, currency: str) -> None:
    with pytest.raises(ValueError, match="more decimals than"):
        Money.parse(text, currency)


@pytest.mark.parametrize("text", ["", "1,500.00", "1e3", " 1", "1.", ".5", "NaN", "Infinity", "1_000", "0x10", "+1"])
def test_what_is_not_plainly_an_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount"):
        Money.parse(text, "EUR")


@pytest.mark.parametrize("text", ["9" * 17, "9" * 10**6, "0." + "0" * 17, "1e60000000", "-" + "1" * 10**6])
def test_what_is_too_long_for_an_amount_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount") as refused:
        Money.parse(text, "EUR")
    assert len(str(refused.value)) < 200


def test_exponents_come_from_iso_4217() -> None:
    assert {code: exponent(code) for code in ("JPY", "KRW", "ISK", "EUR", "USD", "THB", "KWD", "BHD")} == {
        "JPY": 0, "KRW": 0, "ISK": 0, "EUR": 2, "USD": 2, "THB": 2, "KWD": 3, "BHD": 3,
    }  # fmt: skip
    assert all(len(code) == 3 and code.isupper() for code in EXPONENTS)


@pytest.mark.parametrize("code", ["XXX", "eur", "EURO", "", "BTC"])
def test_an_unknown_currency_is_refused_by_name(code: str) -> None:
    with pytest.raises(ValueError, match="unknown currency"):
        Money(1, code)


@pytest.mark.parametrize("amount", [True, 1.0, "1", Decimal(1), None])
def test_only_an_integer_is_an_amount_and_a_bool_is_none(amount: Any) -> None:
    with pytest.raises(TypeError, match="an amount is an integer of minor units"):
        Money(amount, "EUR")


def test_adding_two_currencies_is_an_error_of_the_program() -> None:
    with pytest.raises(CurrencyMismatchError, match="EUR and USD"):
        Money(1, "EUR") + Money(1, "USD")
    with pytest.raises(CurrencyMismatchError, match="EUR and USD"):
        Money(1, "EUR") - Money(1, "USD")


@pytest.mark.parametrize(
    ("amount", "rate", "expected"),
    [(333, "0.10", 33), (335, "0.10", 34), (345, "0.10", 35), (5, "0.5", 3), (1, "0.4999999999", 0), (7, "1", 7)],
)
def test_a_rate_is_rounded_half_up_once(amount: int, rate: str, expected: int) -> None:
    assert Money(amount, "EUR").times(Decimal(rate)) == Money(expected, "EUR")


@pytest.mark.parametrize(
    ("money", "text"),
    [(Money(150000, "EUR"), "1,500.00 EUR"), (Money(1500, "JPY"), "1,500 JPY"), (Money(-1, "KWD"), "-0.001 KWD")],
)
def test_people_read_major_units_with_grouping(money: Money, text: str) -> None:
    assert str(money) == text


@settings(deadline=None)
@given(AMOUNTS, st.sampled_from(["JPY", "EUR", "KWD"]))
def test_what_is_written_in_major_units_reads_back_the_same(amount: int, currency: str) -> None:
    text = str(Money(amount, currency)).removesuffix(f" {currency}").replace(",", "")
    assert Money.parse(text, currency) == Money(amount, currency)


@settings(deadline=None)
@given(AMOUNTS, SHARES)
def test_divided_parts_sum_to_the_whole_and_differ_from_the_exact_share_by_less_than_a_unit(
    amount: int, shares: list[Decimal]
) -> None:
    parts = [part.amount for part in Money(amount, "EUR").divide(shares)]
    assert sum(parts) == amount
    scale = 10**4  # the shares have four places, so everything below is exact in integers
    weights = [int(share * scale) for share in shares]
    for part, weight in zip(parts, weights, strict=True):
        assert part >= 0
        assert abs(part * sum(weights) - amount * weight) < sum(weights)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_equal_shares_differ_by_at_most_one_unit_and_the_earliest_gets_it(amount: int, payees: int) -> None:
    parts = [part.amount for part in Money(amount, "JPY").divide([Decimal(1)] * payees)]
    assert parts == sorted(parts, reverse=True)
    assert parts[0] - parts[-1] <= 1


@pytest.mark.parametrize("shares", [[], [Decimal(0)], [Decimal(1), Decimal(-1)], [Decimal(2), Decimal(-1)]])
def test_division_among_nobody_or_by_a_negative_share_is_an_error(shares: list[Decimal]) -> None:
    with pytest.raises(ValueError, match="only a positive amount"):
        Money(100, "EUR").divide(shares)


@settings(deadline=None)
@given(AMOUNTS, st.decimals(0, 1, places=6))
def test_a_rate_up_to_one_never_takes_more_than_there_is(amount: int, rate: Decimal) -> None:
    taken = Money(amount, "EUR").times(rate).amount
    assert 0 <= taken <= amount
    assert abs(2 * (taken * 10**6 - amount * int(rate * 10**6))) <= 10**6
