"""Facts from outside the escrow that a rule may need, read under lock in the same transaction."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Self

from models.exchange import Rate
from models.fields import Document
from models.money import Money
from models.postings import AccountKind, LedgerTransaction, Posting

KycStatus = Literal["none", "pending", "verified", "rejected", "expired"]


class Carried(Document):
    """A payout of another escrow that is carried forward until the party's money reaches the minimum.

    ``seal`` is that of the request for it (``Outcome.requests``).
    """

    payout: str
    escrow: str
    amount: int
    seal: str | None = None


@dataclass(frozen=True)
class Party:
    """What is known of a party, with its accounts in the escrow's currency, in minor units.

    ``volume`` is what it was released so far, as a seller of this tenant.
    """

    destination: str | None = None
    invalid_destination: str | None = None
    invalid_because: str | None = None
    kyc_status: KycStatus = "none"
    blocked_because: str | None = None
    wallet: int = 0
    payable: int = 0
    receivable: int = 0
    volume: int = 0
    carried: tuple[Carried, ...] = ()

    def after(self, posting: Posting) -> Self:
        """The party once one posting to an account of its own is made."""
        units = posting.money.amount if posting.direction == "credit" else -posting.money.amount
        if posting.kind == AccountKind.WALLET:
            return replace(self, wallet=self.wallet + units)
        if posting.kind == AccountKind.PAYABLE:
            return replace(self, payable=self.payable + units)
        if posting.kind == AccountKind.RECEIVABLE:
            return replace(self, receivable=self.receivable - units)
        return self


@dataclass(frozen=True)
class Funds:
    """The two parties; ``charge`` is what became of the card charge of this very command and ``charged`` its amount in
    minor units, ``rate`` the newest exchange rate from the deal's to the reporting currency. ``asked_at`` is the
    tenant's time of the whole transaction, where a deadline that was due earlier acts at its own moment.
    """

    buyer: Party = field(default_factory=Party)
    seller: Party = field(default_factory=Party)
    charge: Literal["succeeded", "declined"] | None = None
    charge_reason: str | None = None
    charged: int | None = None
    rate: Rate | None = None
    asked_at: datetime | None = None

    def after(self, transaction: LedgerTransaction, buyer: str, seller: str) -> Self:
        """The facts once a transaction is posted: the next rule in the same database transaction reads these."""
        funds = self
        for posting in transaction.postings:
            if posting.owner == buyer:
                funds = replace(funds, buyer=funds.buyer.after(posting))
            elif posting.owner == seller:
                funds = replace(funds, seller=funds.seller.after(posting))
        return funds

    def none_carried(self) -> Self:
        """The facts once everything that was carried forward goes."""
        return replace(self, seller=replace(self.seller, carried=()))

    def released(self, units: int) -> Self:
        """The facts once the seller was released some more, in minor units: the next tier counts it."""
        return replace(self, seller=replace(self.seller, volume=self.seller.volume + units))

    def available(self, currency: str) -> Money:
        """The buyer's wallet."""
        return Money(self.buyer.wallet, currency)
