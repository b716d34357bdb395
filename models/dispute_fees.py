"""What a resolved dispute costs, beside the platform's own fee. Source: domain.md, section 5.

It comes out of the payer's side of the settlement. What that side did not get enough of to pay it owes the platform.
"""

from dataclasses import dataclass

from models.divisions import Division
from models.fee_policies import DisputeFee
from models.money import Money


@dataclass(frozen=True)
class DisputeCharge:
    """What each side pays at once, and what it owes (a receivable); the four sum to the dispute fee."""

    seller_taken: Money
    seller_owed: Money
    buyer_taken: Money
    buyer_owed: Money

    @property
    def taken(self) -> Money:
        """What the settlement covers, of both sides."""
        return self.seller_taken + self.buyer_taken

    @property
    def owed(self) -> Money:
        """What becomes a receivable, of both sides."""
        return self.seller_owed + self.buyer_owed


def assess(fee: DisputeFee, division: Division, unused: Money | None = None) -> DisputeCharge:
    """Who pays a dispute fee out of a division, and what is left owing.

    1500 by the loser of 10000 / 63000 / 27000 is 1500 of the buyer's 27000; by the buyer of 10000 / 90000 / 0 it is
    taken from nobody and owed by the buyer. ``loser`` got the smaller part; on a tie both pay, as for ``split``: half
    each, the odd unit is the seller's. ``unused`` of the buyer's refund was no part of what was divided.
    """
    buyer = Money(_part_of_the_buyer(fee, division, unused.amount if unused else 0), division.total.currency)
    seller = Money(fee.amount, division.total.currency) - buyer
    seller_taken = Money(min(seller.amount, division.seller_payout.amount), seller.currency)
    buyer_taken = Money(min(buyer.amount, division.buyer_refund.amount), buyer.currency)
    return DisputeCharge(seller_taken, seller - seller_taken, buyer_taken, buyer - buyer_taken)


def with_dispute_fee(division: Division, charge: DisputeCharge) -> Division:
    """The division after the charge: 10000 / 63000 / 27000 with 1500 of the buyer's is 11500 / 63000 / 25500.

    Raises ``ArithmeticError`` when the charge takes more than a side has.
    """
    return Division(
        division.total,
        division.platform_fee + charge.taken,
        division.seller_payout - charge.seller_taken,
        division.buyer_refund - charge.buyer_taken,
    )


def _part_of_the_buyer(fee: DisputeFee, division: Division, unused: int) -> int:
    payer, seller, buyer = fee.payer, division.seller_payout.amount, division.buyer_refund.amount - unused
    if payer == "loser" and seller != buyer:
        payer = "seller" if seller < buyer else "buyer"
    return {"seller": 0, "buyer": fee.amount}.get(payer, fee.amount // 2)
