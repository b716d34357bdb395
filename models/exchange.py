"""Exchange rates: exact decimals of a day, and what they make of an amount. Source: domain.md, section 10.

A rate says how many units of ``quote`` one unit of ``base`` is worth, in major units: EUR → USD 1.08 makes 162000 US
cents of 150000 euro cents.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from models import durations
from models.currencies import exponent
from models.divisions import Division
from models.errors import ErrorCode, RefusedError
from models.fields import DECIMAL_STRING, Currency, Document, Line
from models.money import Money

PIVOT: Final = "EUR"
"""The currency over which crosses are made: central banks' tables are against one currency, the ECB's against this."""

# What may be written down. The widest pairs in use are below ten million to one; what is derived of two such rates
# stays inside the bounds of ``Figure``.
LEAST_RATE: Final = Decimal("1e-9")
MOST_RATE: Final = Decimal("1e9")
_SIGNIFICANT_DIGITS: Final = 10
_WRITTEN: Final = re.compile(r"[0-9]{1,19}(\.[0-9]{1,27})?")


def _written(value: Any) -> Decimal:
    """A rate is a decimal string ("1.08"): a JSON number would have passed through a float on its way here."""
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str) or not _WRITTEN.fullmatch(value):
        raise ValueError('expected a decimal string such as "1.08"')
    return Decimal(value)


def _without_trailing_zeros(rate: Decimal) -> Decimal:
    return Decimal(_plain(rate))


def _plain(rate: Decimal) -> str:
    text = f"{rate:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


Figure = Annotated[
    Decimal,
    BeforeValidator(_written),
    Field(ge=Decimal("1e-18"), le=Decimal("1e18"), decimal_places=27),
    AfterValidator(_without_trailing_zeros),
    PlainSerializer(_plain, return_type=str, when_used="json"),
    DECIMAL_STRING,
]


class Rate(Document):
    """What one unit of ``base`` was worth in ``quote`` on a day, and who says so. In JSON the rate is a string."""

    base: Currency
    quote: Currency
    rate: Figure
    as_of: date
    source: Line

    @model_validator(mode="after")
    def _same_currency_is_one_to_one(self) -> Self:
        if self.base == self.quote and self.rate != 1:
            raise ValueError(f"one {self.base} is one {self.quote}: there is no other rate between them")
        return self

    @classmethod
    def identity(cls, currency: str, as_of: date) -> Self:
        """The rate of a currency to itself: one."""
        return cls(base=currency, quote=currency, rate=Decimal(1), as_of=as_of, source="identity")

    def __str__(self) -> str:
        """For people: ``1 EUR = 1.08 USD of 2026-11-20 (www.ecb.europa.eu)``."""
        return f"1 {self.base} = {_plain(self.rate)} {self.quote} of {self.as_of} ({self.source})"


class RefreshResult(Document):
    """What a refresh brought: how many rates the source has, of which day, and how many of them are new to us."""

    source: Line
    as_of: date
    rates: int
    new: int

    def __str__(self) -> str:
        """One line for operators."""
        return f"{self.rates} rates of {self.as_of} from {self.source}, {self.new} of them new"


@dataclass(frozen=True)
class Translation:
    """A division in another currency; its parts sum to its total there as well."""

    total: Money
    platform_fee: Money
    seller_payout: Money
    buyer_refund: Money


def convert(money: Money, rate: Rate) -> Money:
    """An amount in the rate's quote currency, rounded half-up once: 150000 EUR cents at 1.08 are 162000 USD cents.

    Both are minor units by the exponents of ISO 4217: 150000 EUR cents at 180 are 270000 yen. Raises ``ValueError``
    when the amount is not in the rate's base currency.
    """
    if money.currency != rate.base:
        raise ValueError(f"a rate from {rate.base} says nothing about {money.currency}")
    scale = Fraction(10) ** (exponent(rate.quote) - exponent(rate.base))
    return Money(_half_up(money.amount * Fraction(rate.rate) * scale), rate.quote)


def translate(division: Division, rate: Rate) -> Translation:
    """A settlement's amounts in the rate's quote currency: 150000/15000/135000/0 at 1.08 is 162000/16200/145800/0.

    The total is converted once and divided as the original was, remaining units to the largest fractions, so that the
    parts sum to it. Raises ``ValueError`` when the division is not in the rate's base currency.
    """
    total = convert(division.total, rate)
    parts = (division.platform_fee, division.seller_payout, division.buyer_refund)
    if not division.total.amount:
        return Translation(total, total, total, total)
    return Translation(total, *total.divide([Decimal(part.amount) for part in parts]))


def inverse(rate: Rate) -> Rate:
    """The same rate the other way round, to ten significant digits: EUR → USD 1.25 is USD → EUR 0.8."""
    figure = _significant(1 / Fraction(rate.rate))
    return Rate(base=rate.quote, quote=rate.base, rate=figure, as_of=rate.as_of, source=rate.source)


def cross(a: Rate, b: Rate) -> Rate:
    """The rate between the quotes of two rates of one base: of EUR → THB and EUR → USD, THB → USD.

    Exact until it is rounded to ten significant digits; as old as the older of the two. Raises ``ValueError`` when the
    bases differ.
    """
    if a.base != b.base:
        raise ValueError(f"{a.base} → {a.quote} and {b.base} → {b.quote} have no currency in common to cross over")
    return Rate(
        base=a.quote,
        quote=b.quote,
        rate=_significant(Fraction(b.rate) / Fraction(a.rate)),
        as_of=min(a.as_of, b.as_of),
        source=a.source if a.source == b.source else f"{a.source}, {b.source}"[:200],
    )


def refuse_stale(rate: Rate | None, base: str, quote: str, today: date, max_age: timedelta) -> None:
    """Refuse to settle without a rate, or with one that is more than ``max_age`` old; edge case 26.

    Between a currency and itself none is needed. ``today`` is a day of the real calendar, not of a test clock: the
    world's rates do not come any faster for it. Raises ``RefusedError`` (exchange_rate_unavailable).
    """
    if base == quote:
        return
    if rate is None:
        found, as_of = f"there is no exchange rate from {base} to {quote}", None
    elif today - rate.as_of > max_age:
        days = (today - rate.as_of).days
        found = (
            f"the newest exchange rate from {base} to {quote} is of {rate.as_of} ({rate.source}), {days} days old, "
            f"and at most {_days(max_age)} are allowed"
        )
        as_of = rate.as_of.isoformat()
    else:
        return
    raise RefusedError(
        ErrorCode.EXCHANGE_RATE_UNAVAILABLE,
        f"{found}: nothing moved. Put a current rate (PUT /v1/exchange-rates) or have rates refreshed "
        "(HOLDFAST_RATES_SOURCE), then send the command again",
        base=base,
        quote=quote,
        as_of=as_of,
        max_age=durations.written(max_age),
    )


def _days(age: timedelta) -> str:
    whole = age // timedelta(days=1)
    return f"{whole} day" if whole == 1 else f"{whole} days"


def _half_up(exact: Fraction) -> int:
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)


def _significant(exact: Fraction) -> Decimal:
    """Round a positive number half-up to ten significant digits."""
    # The lengths of numerator and denominator tell the number's size but for a factor of ten.
    decimals = _SIGNIFICANT_DIGITS - 1 - (len(str(exact.numerator)) - len(str(exact.denominator)))
    if exact * Fraction(10) ** decimals < 10 ** (_SIGNIFICANT_DIGITS - 1):
        decimals += 1
    return Decimal(_half_up(exact * Fraction(10) ** decimals)).scaleb(-decimals)
