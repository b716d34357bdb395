"""The ledger's recipes: which accounts each movement debits and credits. Source: domain.md, section 4.

Every recipe is balanced by construction, and PostgreSQL refuses one that is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from models.divisions import Division
from models.money import Money

PLATFORM: Final = "platform"


class AccountKind(StrEnum):
    """The kinds of account; PostgreSQL's table ``account_kind`` says which side is normal and which has a floor."""

    GATEWAY_CASH = "gateway_cash"
    WALLET = "wallet"
    ESCROW_HOLD = "escrow_hold"
    DISPUTED_FUNDS = "disputed_funds"
    PAYABLE = "payable"
    PAYOUT_IN_TRANSIT = "payout_in_transit"
    FEE_REVENUE = "fee_revenue"
    DISPUTE_FEE_REVENUE = "dispute_fee_revenue"
    RECEIVABLE = "receivable"
    CHARGEBACK_HOLD = "chargeback_hold"
    PLATFORM_LOSS = "platform_loss"
    SUSPENSE = "suspense"


@dataclass(frozen=True)
class Posting:
    """One debit or credit of the account ``kind`` of ``owner`` (a party, an escrow, a payout, a gateway)."""

    kind: AccountKind
    owner: str
    direction: Literal["debit", "credit"]
    money: Money


@dataclass(frozen=True)
class LedgerTransaction:
    """Postings that sum to zero and stand or fall together."""

    memo: str
    postings: tuple[Posting, ...]


def _move(memo: str, money: Money, source: tuple[AccountKind, str], *targets: tuple[AccountKind, str, Money]) -> LedgerTransaction:  # fmt: skip  # noqa: E501
    """Debit the source, credit the targets; legs of nothing are not written."""
    credits_ = (Posting(kind, owner, "credit", part) for kind, owner, part in targets if part.amount)
    return LedgerTransaction(memo, (Posting(*source, "debit", money), *credits_))


def _divide(
    memo: str, sources: Sequence[tuple[AccountKind, str, Money]], *targets: tuple[AccountKind, str, Money]
) -> LedgerTransaction:
    """Debit the sources, credit the targets; legs of nothing are not written."""
    debits = (Posting(kind, owner, "debit", part) for kind, owner, part in sources if part.amount)
    credits_ = (Posting(kind, owner, "credit", part) for kind, owner, part in targets if part.amount)
    return LedgerTransaction(memo, (*debits, *credits_))


def top_up(gateway: str, buyer: str, money: Money) -> LedgerTransaction:
    """Money arrived at the gateway and is the buyer's: debit gateway_cash, credit wallet."""
    return _move("top up", money, (AccountKind.GATEWAY_CASH, gateway), (AccountKind.WALLET, buyer, money))


def fund(buyer: str, escrow: str, money: Money) -> LedgerTransaction:
    """The buyer's money is held: debit wallet, credit escrow_hold."""
    return _move("fund", money, (AccountKind.WALLET, buyer), (AccountKind.ESCROW_HOLD, escrow, money))


def freeze(escrow: str, money: Money) -> LedgerTransaction:
    """A dispute takes held money out of everyone's reach: debit escrow_hold, credit disputed_funds."""
    return _move("freeze", money, (AccountKind.ESCROW_HOLD, escrow), (AccountKind.DISPUTED_FUNDS, escrow, money))


def unfreeze(escrow: str, money: Money) -> LedgerTransaction:
    """Mediation puts frozen money back to work: debit disputed_funds, credit escrow_hold."""
    return _move("unfreeze", money, (AccountKind.DISPUTED_FUNDS, escrow), (AccountKind.ESCROW_HOLD, escrow, money))


def settle(
    memo: str, escrow: str, frozen: Money, buyer: str, seller: str, division: Division, dispute_fee: Money
) -> LedgerTransaction:
    """A settlement: debit what was held and, of it, what a dispute had frozen; credit the seller's payable, the buyer's
    wallet and the fees. ``dispute_fee`` is part of the division's platform fee, and revenue of its own.
    """
    return _divide(
        memo,
        [(AccountKind.DISPUTED_FUNDS, escrow, frozen), (AccountKind.ESCROW_HOLD, escrow, division.total - frozen)],
        (AccountKind.PAYABLE, seller, division.seller_payout),
        (AccountKind.WALLET, buyer, division.buyer_refund),
        (AccountKind.FEE_REVENUE, PLATFORM, division.platform_fee - dispute_fee),
        (AccountKind.DISPUTE_FEE_REVENUE, PLATFORM, dispute_fee),
    )


def owe_dispute_fee(party: str, money: Money) -> LedgerTransaction:
    """What a share could not cover of a dispute fee: debit the party's receivable, credit dispute_fee_revenue."""
    return _move(
        "dispute fee owed", money, (AccountKind.RECEIVABLE, party), (AccountKind.DISPUTE_FEE_REVENUE, PLATFORM, money)
    )


def net(party: str, money: Money) -> LedgerTransaction:
    """What a party owes comes out of what it is to be paid: debit payable, credit receivable."""
    return _move("net receivable", money, (AccountKind.PAYABLE, party), (AccountKind.RECEIVABLE, party, money))


def take_back(
    memo: str, sources: Sequence[tuple[AccountKind, str, Money]], target: tuple[AccountKind, str]
) -> LedgerTransaction:
    """A clawback: debit each source for its part, credit the target (the buyer's wallet, the gateway's cash) for all.

    45000 of the seller's payable and 5000 of fee_revenue make the buyer's 50000.
    """
    whole = Money(sum(money.amount for _, _, money in sources), sources[0][2].currency)
    debits = (Posting(kind, owner, "debit", money) for kind, owner, money in sources if money.amount)
    return LedgerTransaction(memo, (*debits, Posting(*target, "credit", whole)))


def return_surcharge(buyer: str, escrow: str, money: Money) -> LedgerTransaction:
    """There is nothing left to take a fee for: debit escrow_hold, credit the buyer's wallet."""
    return _move("surcharge returned", money, (AccountKind.ESCROW_HOLD, escrow), (AccountKind.WALLET, buyer, money))


def contest(escrow: str, held: Money, disputed: Money) -> LedgerTransaction:
    """The payer's bank contests it: debit escrow_hold and disputed_funds, credit chargeback_hold."""
    sources = [(AccountKind.ESCROW_HOLD, escrow, held), (AccountKind.DISPUTED_FUNDS, escrow, disputed)]
    return take_back("contest", sources, (AccountKind.CHARGEBACK_HOLD, escrow))


def restore(escrow: str, held: Money, disputed: Money) -> LedgerTransaction:
    """A chargeback was won: debit chargeback_hold, credit escrow_hold and disputed_funds."""
    return _move(
        "restore",
        held + disputed,
        (AccountKind.CHARGEBACK_HOLD, escrow),
        (AccountKind.ESCROW_HOLD, escrow, held),
        (AccountKind.DISPUTED_FUNDS, escrow, disputed),
    )


def charge_back(gateway: str, escrow: str, money: Money) -> LedgerTransaction:
    """A chargeback was lost: debit chargeback_hold, credit gateway_cash. The bank has taken it."""
    return _move(
        "charge back", money, (AccountKind.CHARGEBACK_HOLD, escrow), (AccountKind.GATEWAY_CASH, gateway, money)
    )


def payout_sent(seller: str, payout: str, money: Money) -> LedgerTransaction:
    """About to ask the gateway: debit payable, credit payout_in_transit."""
    return _move("payout sent", money, (AccountKind.PAYABLE, seller), (AccountKind.PAYOUT_IN_TRANSIT, payout, money))


def payout_paid(gateway: str, payout: str, money: Money) -> LedgerTransaction:
    """The gateway confirmed: debit payout_in_transit, credit gateway_cash."""
    return _move(
        "payout paid", money, (AccountKind.PAYOUT_IN_TRANSIT, payout), (AccountKind.GATEWAY_CASH, gateway, money)
    )


def payout_returned(gateway: str, seller: str, money: Money) -> LedgerTransaction:
    """The seller's bank sent it back: debit gateway_cash, credit payable."""
    return _move("payout returned", money, (AccountKind.GATEWAY_CASH, gateway), (AccountKind.PAYABLE, seller, money))


def payout_failed(seller: str, payout: str, money: Money) -> LedgerTransaction:
    """The gateway declined for good: debit payout_in_transit, credit payable."""
    return _move("payout failed", money, (AccountKind.PAYOUT_IN_TRANSIT, payout), (AccountKind.PAYABLE, seller, money))


def correction(gateway: str, money: Money, *, arrived: bool) -> LedgerTransaction:
    """What the gateway has and nobody can explain: debit gateway_cash, credit suspense; or the other way round."""
    cash, suspense = (AccountKind.GATEWAY_CASH, gateway), (AccountKind.SUSPENSE, gateway)
    source, target = (cash, suspense) if arrived else (suspense, cash)
    return _move("correction", money, source, (*target, money))
