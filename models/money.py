"""Money: integer minor units plus an ISO 4217 code. Never a float. Source: domain.md, section 2."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, Self

from models.currencies import exponent

# Ten trillion in a two-decimal currency; above 2**53 the JavaScript readers of our JSON would round silently.
MAX_AMOUNT: Final = 10**15

# Not \d, which takes the digits of every script: people would read one amount and machines another.
_DECIMAL = re.compile(r"-?[0-9]{1,16}(\.[0-9]{1,16})?")
_QUOTED: Final = 40  # of what is no amount


class CurrencyMismatchError(TypeError):
    """Two currencies met in one sum: an error of the program, never a conversion."""


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount in minor units (cents) of one currency."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            raise TypeError(f"an amount is an integer of minor units, not {type(self.amount).__name__}")
        exponent(self.currency)

    @classmethod
    def parse(cls, text: str, currency: str) -> Self:
        """Read major units ("1500.00"). Raises ``ValueError`` when there are more decimals than the currency has, for
        more than 16 digits on either side of the point, and for anything but digits and a point.
        """
        decimals = exponent(currency)
        if not _DECIMAL.fullmatch(text):
            said = text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"
            raise ValueError(f"{said!r} is not an amount: expected digits with an optional decimal point, like 1500.00")
        units = Fraction(text) * 10**decimals  # exact, where Decimal would round at 28 digits
        if units.denominator != 1:
            raise ValueError(f"{text} has more decimals than {currency} allows ({decimals})")
        return cls(int(units), currency)

    def __add__(self, other: Self) -> Self:
        self._same_currency(other)
        return type(self)(self.amount + other.amount, self.currency)

    def __sub__(self, other: Self) -> Self:
        self._same_currency(other)
        return type(self)(self.amount - other.amount, self.currency)

    def __str__(self) -> str:
        """Major units with grouping, for people: ``1,500.00 EUR``."""
        decimals = exponent(self.currency)
        return f"{Decimal(self.amount).scaleb(-decimals):,.{decimals}f} {self.currency}"

    def times(self, rate: Decimal) -> Self:
        """Multiply by an exact rate and round half-up once: 333 at 0.10 is 33, 335 at 0.10 is 34."""
        exact = self.amount * Fraction(rate)
        return type(self)((2 * exact.numerator + exact.denominator) // (2 * exact.denominator), self.currency)

    def divide(self, shares: Sequence[Decimal]) -> tuple[Self, ...]:
        """Divide among payees in proportion to their shares; the parts sum to the whole.

        Each part is rounded down; what remains goes unit by unit to the largest fractional parts, ties to the
        earliest payee. One unit in halves is (1, 0); 10001 in thirds is (3334, 3334, 3333).
        """
        whole = sum((Fraction(share) for share in shares), Fraction(0))
        if self.amount < 0 or whole <= 0 or any(share < 0 for share in shares):
            raise ValueError("only a positive amount can be divided, among shares that are not negative")
        exact = [self.amount * Fraction(share) / whole for share in shares]
        parts = [int(part) for part in exact]
        by_fraction = sorted(range(len(exact)), key=lambda i: (parts[i] - exact[i], i))
        for i in by_fraction[: self.amount - sum(parts)]:
            parts[i] += 1
        return tuple(type(self)(part, self.currency) for part in parts)

    def _same_currency(self, other: Self) -> None:
        if self.currency != other.currency:
            raise CurrencyMismatchError(f"{self.currency} and {other.currency} do not add up")
