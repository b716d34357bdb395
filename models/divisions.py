"""How a total is divided among platform, seller and buyer. Each is exact: the three parts sum to the total.

Source: domain.md, section 5, "Divisions".
"""

from dataclasses import dataclass
from decimal import Decimal

from models.fees import Fee
from models.money import Money


@dataclass(frozen=True)
class Division:
    """A total and its three parts, all in one currency and none below zero."""

    total: Money
    platform_fee: Money
    seller_payout: Money
    buyer_refund: Money

    def __post_init__(self) -> None:
        parts = (self.platform_fee, self.seller_payout, self.buyer_refund)
        if sum(part.amount for part in parts) != self.total.amount or any(part.amount < 0 for part in parts):
            raise ArithmeticError(f"a division must conserve its total: {self}")


@dataclass(frozen=True)
class Projection:
    """What a reversal before release takes out of the future: the platform's fee and the seller's payout."""

    fee_returned: Money
    payout_reduced: Money


def release(total: Money, fee: Fee) -> Division:
    """All to the seller less the fee: 150000 at 10 % is 15000 / 135000 / 0."""
    taken = fee.on(total)
    return Division(total, taken, total - taken, _nothing(total))


def refund(total: Money, fee: Fee) -> Division:
    """All back to the buyer less the refund fee, usually none: 150000 at 0 % is 0 / 0 / 150000."""
    taken = fee.on(total)
    return Division(total, taken, _nothing(total), total - taken)


def split(total: Money, fee: Fee, seller_share: Decimal) -> Division:
    """The fee first, the rest by shares: 100000 at 10 % and 0.7 is 10000 / 63000 / 27000.

    A unit that the shares cannot halve goes to the larger fraction, on a tie to the seller.
    """
    taken = fee.on(total)
    seller, buyer = (total - taken).divide((seller_share, 1 - seller_share))
    return Division(total, taken, seller, buyer)


def partial_refund(total: Money, fee: Fee, returned: Money) -> Division:
    """Return a fixed amount, release the rest: 100000 less 40000 at 10 % is 6000 / 54000 / 40000."""
    taken = fee.on(total - returned)
    return Division(total, taken, total - returned - taken, returned)


def reversal(before: Money, returned: Money, fee: Fee) -> Division:
    """A part goes back before release, less the reversal fee, usually none: 50000 at 0 % is 0 / 0 / 50000.

    ``before`` went back earlier. The fee is taken on the sum, so that n partial reversals pay what one full one pays.
    """
    taken = fee.on(before + returned) - fee.on(before)
    return Division(returned, taken, _nothing(returned), returned - taken)


def projection(remaining: Money, returned: Money, release_fee: Fee) -> Projection:
    """What is gone of the pending revenue and earnings: 50000 out of 100000 at 10 % is 5000 and 45000.

    Taken as a difference of fees, so that the parts of n partial reversals sum to those of one full reversal.
    """
    fee_returned = release_fee.on(remaining) - release_fee.on(remaining - returned)
    return Projection(fee_returned, returned - fee_returned)


def _nothing(like: Money) -> Money:
    return Money(0, like.currency)
