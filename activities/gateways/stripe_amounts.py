"""Our minor units (ISO 4217) to Stripe's and back, exactly or not at all. Source: docs.stripe.com/currencies."""

from typing import Final

from models.currencies import exponent

# "Zero-decimal currencies". MGA has two decimals in ISO 4217; the others have none there either.
_ZERO_DECIMAL: Final = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
# "Three-decimal currencies": Stripe wants the last digit to be 0, so 5.124 KWD cannot be sent.
_THREE_DECIMAL: Final = "BHD JOD KWD OMR TND"
# "Special cases": without decimals in ISO 4217, but "to maintain backwards compatibility" passed with two.
_TWO_FOR_COMPATIBILITY: Final = "ISK UGX"


class AmountNotRepresentableError(ValueError):
    """This amount cannot be said to Stripe without changing it. Raised before anything is sent."""


def to_stripe(amount: int, currency: str) -> int:
    """Convert minor units to Stripe's integer: 5 ISK → 500, 100 MGA cents → 1, 5120 KWD → 5120.

    Raises ``AmountNotRepresentableError`` where that would need rounding, or for a currency Stripe has no rule for.
    """
    ours, theirs = exponent(currency), _stripe_exponent(currency)
    if theirs >= ours:
        converted, rest = amount * _ten_to(theirs - ours), 0
    else:
        converted, rest = divmod(amount, _ten_to(ours - theirs))
    if rest or (currency in _THREE_DECIMAL.split() and converted % 10):
        raise AmountNotRepresentableError(f"Stripe cannot take {amount} minor units of {currency} without rounding")
    return converted


def from_stripe(amount: int, currency: str) -> int:
    """Convert Stripe's integer to minor units. Raises ``AmountNotRepresentableError`` for a part of one (1.50 ISK)."""
    ours, theirs = exponent(currency), _stripe_exponent(currency)
    if theirs <= ours:
        return amount * _ten_to(ours - theirs)
    converted, rest = divmod(amount, _ten_to(theirs - ours))
    if rest:
        raise AmountNotRepresentableError(f"Stripe stated {amount} for {currency}, which is no whole minor unit")
    return converted


def _stripe_exponent(currency: str) -> int:
    if currency in _ZERO_DECIMAL.split():
        return 0
    if currency in _THREE_DECIMAL.split():
        return 3
    if currency in _TWO_FOR_COMPATIBILITY.split() or exponent(currency) == 2:
        return 2
    raise AmountNotRepresentableError(f"Stripe has no rule for {currency}")


def _ten_to(power: int) -> int:
    return int(10**power)
