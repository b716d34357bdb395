"""How a total is divided among platform, seller and buyer. Each is exact: the three parts sum to the total.

Where a fee has ``payer`` buyer or both, the buyer added a surcharge at funding, which is held with the escrow. The
buyer's part of the fee comes out of it, as far as it goes; what is left returns to the buyer with the last division.

Source: domain.md, section 5, "Divisions".
"""

from dataclasses import dataclass
from decimal import Decimal

from models.fees import Fee
from models.money import Money


@dataclass(frozen=True)
class Division:
    """A total and its three parts, all in one currency and none below zero. The total includes what is used or
    returned of a surcharge."""

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


@dataclass(frozen=True)
class Clawback:
    """What a reversal after release takes back: from the platform its fee, from the seller the rest."""

    fee_returned: Money
    payout_reduced: Money


@dataclass(frozen=True)
class _Taken:
    """A fee as it could be taken: of what is released, of the surcharge, and what the surcharge returns."""

    from_seller: Money
    from_buyer: Money
    unused: Money

    @property
    def fee(self) -> Money:
        return self.from_seller + self.from_buyer


def release(total: Money, fee: Fee, surcharge: Money | None = None, *, last: bool = True) -> Division:
    """All to the seller less the fee: 150000 at 10 % is 15000 / 135000 / 0.

    Paid by the buyer, with a surcharge of 20000: 15000 / 150000 / 5000 of 170000, or 15000 / 150000 / 0 of 165000
    while more is to be released.
    """
    return partial_refund(total, fee, _nothing(total), surcharge, last=last)


def refund(total: Money, fee: Fee, surcharge: Money | None = None) -> Division:
    """All back to the buyer, the surcharge too, less the refund fee, usually none: 150000 at 0 % is 0 / 0 / 150000."""
    taken, back = fee.on(total), total + _unless_negative(surcharge or _nothing(total))
    return Division(back, taken, _nothing(total), back - taken)


def split(
    total: Money, fee: Fee, seller_share: Decimal, surcharge: Money | None = None, *, last: bool = True
) -> Division:
    """The fee first, the rest by shares: 100000 at 10 % and 0.7 is 10000 / 63000 / 27000.

    A unit that the shares cannot halve goes to the larger fraction, on a tie to the seller. Paid by the buyer out of a
    surcharge of 10000 it is 10000 / 70000 / 30000 of 110000.
    """
    taken = _take(total, fee, surcharge, last=last)
    seller, buyer = (total - taken.from_seller).divide((seller_share, 1 - seller_share))
    return _divided(taken, seller, buyer)


def partial_refund(
    total: Money, fee: Fee, returned: Money, surcharge: Money | None = None, *, last: bool = True
) -> Division:
    """Return a fixed amount, release the rest: 100000 less 40000 at 10 % is 6000 / 54000 / 40000."""
    released = total - returned
    taken = _take(released, fee, surcharge, last=last)
    return _divided(taken, released - taken.from_seller, returned)


def reversal(before: Money, returned: Money, fee: Fee, unused: Money | None = None) -> Division:
    """A part goes back before release, less the reversal fee, usually none: 50000 at 0 % is 0 / 0 / 50000.

    ``before`` went back earlier. The fee is taken on the sum, so that n partial reversals pay what one full one pays;
    tiers of one rate for all need a standing for it. ``unused`` is the part of the surcharge that goes back with it.
    """
    taken = fee.on(before + returned) - fee.on(before)
    back = returned + _unless_negative(unused or _nothing(returned))
    return Division(back, taken, _nothing(returned), back - taken)


def projection(remaining: Money, returned: Money, release_fee: Fee) -> Projection:
    """What is gone of the pending revenue and earnings: 50000 out of 100000 at 10 % is 5000 and 45000.

    Taken as a difference of fees, so that the parts of n partial reversals sum to those of one full reversal. Where the
    buyer pays the fee the seller loses all of the 50000: the 5000 would have come out of the surcharge.
    """
    fee, left = release_fee.on(remaining), release_fee.on(remaining - returned)
    of_seller = release_fee.parts(fee)[1] - release_fee.parts(left)[1]
    return Projection(fee - left, returned - of_seller)


def clawback(gross: Money, fee: Money, before: Money, returned: Money) -> Clawback:
    """A part goes back after release, by the proportions of the original settlement, whatever the rates are now.

    ``gross`` was released (fee and seller's payout), ``fee`` of it to the platform, ``before`` went back earlier:
    50000 of 150000 with a fee of 15000 is 5000 and 45000. Each is the difference of two sums, so that n partial
    clawbacks equal one full one. Raises ``ValueError`` when more would go back than was released.
    """
    kept = (gross - fee, gross - before - returned)
    if any(amount.amount < 0 for amount in (*kept, fee, before, returned)):
        raise ValueError(f"{returned} cannot go back after {before} of the {gross} that were released with a {fee} fee")
    fee_returned = _fee_back(gross, fee, before + returned) - _fee_back(gross, fee, before)
    return Clawback(fee_returned, returned - fee_returned)


def _fee_back(gross: Money, fee: Money, returned: Money) -> Money:
    if not returned.amount:
        return returned
    return Money((2 * fee.amount * returned.amount + gross.amount) // (2 * gross.amount), gross.currency)  # half-up


def _take(total: Money, fee: Fee, surcharge: Money | None, *, last: bool) -> _Taken:
    """The seller's part of the fee is in the total, the buyer's part in the surcharge: neither pays for the other."""
    held = _unless_negative(surcharge or _nothing(total))
    buyer, seller = fee.parts(fee.on(total))
    from_buyer, from_seller = _smaller(buyer, held), _smaller(seller, total)
    return _Taken(from_seller, from_buyer, held - from_buyer if last else _nothing(total))


def _divided(taken: _Taken, seller: Money, buyer: Money) -> Division:
    buyer += taken.unused
    return Division(taken.fee + seller + buyer, taken.fee, seller, buyer)


def _smaller(one: Money, other: Money) -> Money:
    return one if (one - other).amount <= 0 else other


def _unless_negative(surcharge: Money) -> Money:
    if surcharge.amount < 0:
        raise ArithmeticError(f"a surcharge is never below zero: {surcharge}")
    return surcharge


def _nothing(like: Money) -> Money:
    return Money(0, like.currency)
