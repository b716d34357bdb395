"""The ledger's recipes: which accounts each movement debits and credits. Source: domain.md, section 4.

Every recipe is balanced by construction, and PostgreSQL refuses one that is not.
"""

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
    memo: str, source: AccountKind, escrow: str, buyer: str, seller: str, division: Division
) -> LedgerTransaction:
    """A settlement: debit what was held or frozen; credit the seller's payable, the buyer's wallet and the fee."""
    return _move(
        memo,
        division.total,
        (source, escrow),
        (AccountKind.PAYABLE, seller, division.seller_payout),
        (AccountKind.WALLET, buyer, division.buyer_refund),
        (AccountKind.FEE_REVENUE, PLATFORM, division.platform_fee),
    )


def payout_sent(seller: str, payout: str, money: Money) -> LedgerTransaction:
    """About to ask the gateway: debit payable, credit payout_in_transit."""
    return _move("payout sent", money, (AccountKind.PAYABLE, seller), (AccountKind.PAYOUT_IN_TRANSIT, payout, money))


def payout_paid(gateway: str, payout: str, money: Money) -> LedgerTransaction:
    """The gateway confirmed: debit payout_in_transit, credit gateway_cash."""
    return _move(
        "payout paid", money, (AccountKind.PAYOUT_IN_TRANSIT, payout), (AccountKind.GATEWAY_CASH, gateway, money)
    )


def payout_failed(seller: str, payout: str, money: Money) -> LedgerTransaction:
    """The gateway declined for good: debit payout_in_transit, credit payable."""
    return _move("payout failed", money, (AccountKind.PAYOUT_IN_TRANSIT, payout), (AccountKind.PAYABLE, seller, money))
