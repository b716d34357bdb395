"""The ledger's recipes, as decisions post them for an escrow of EUR 5,000. Source: domain.md, section 4."""

from models import postings
from models.commands import (
    ApproveMilestone,
    Cancel,
    Fund,
    RaiseDispute,
    RecordPayout,
    ResolveDispute,
    ReviewDispute,
    SendPayout,
    SubmitMilestone,
)
from models.decision import Decision
from models.postings import AccountKind, LedgerTransaction
from models.states import State
from tests.builders import Deal, eur


def lines(transaction: LedgerTransaction, deal: Deal | None = None) -> str:
    """A transaction as the specification writes it: one recipe line, ids replaced by what they are."""
    names = {deal.escrow.id: "escrow"} | {payout.id: "payout" for payout in deal.escrow.payouts} if deal else {}
    words = [
        f"{posting.direction} {posting.kind}:{names.get(posting.owner, posting.owner)} {posting.money.amount}"
        for posting in transaction.postings
    ]
    return f"{transaction.memo}: {', '.join(words)}"


def only(decision: Decision) -> LedgerTransaction:
    """The one ledger transaction of a decision."""
    (transaction,) = decision.transactions
    return transaction


def test_a_top_up_is_cash_at_the_gateway_and_money_of_the_buyer() -> None:
    assert lines(postings.top_up("stripe", "alice", eur(500000))) == (
        "top up: debit gateway_cash:stripe 500000, credit wallet:alice 500000"
    )


def test_funding_moves_the_wallets_money_into_the_hold() -> None:
    deal = Deal.agreed()
    assert lines(only(deal.do(Fund)), deal) == "fund: debit wallet:alice 500000, credit escrow_hold:escrow 500000"


def test_releasing_the_first_milestone_pays_the_seller_and_the_platform() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    assert lines(only(deal.do(ApproveMilestone)), deal) == (
        "release: debit escrow_hold:escrow 150000, credit payable:bob 135000, credit fee_revenue:platform 15000"
    )


def test_a_payout_is_booked_in_transit_before_and_as_paid_after_the_gateway() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    assert lines(only(deal.do(SendPayout)), deal) == (
        "payout sent: debit payable:bob 135000, credit payout_in_transit:payout 135000"
    )
    assert lines(only(deal.do(RecordPayout, outcome="paid")), deal) == (
        "payout paid: debit payout_in_transit:payout 135000, credit gateway_cash:stripe 135000"
    )


def test_a_failed_payout_is_payable_again() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.do(SendPayout)
    assert lines(only(deal.do(RecordPayout, outcome="failed")), deal) == (
        "payout failed: debit payout_in_transit:payout 135000, credit payable:bob 135000"
    )


def test_freezing_the_second_milestone_takes_it_out_of_the_hold() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    assert lines(only(deal.do(RaiseDispute, milestones=(2,))), deal) == (
        "freeze: debit escrow_hold:escrow 200000, credit disputed_funds:escrow 200000"
    )


def test_cancelling_returns_the_rest_to_the_buyer_and_the_seller_keeps_what_was_approved() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.do(SubmitMilestone, milestone=2)
    deal.do(ApproveMilestone, milestone=2)
    assert lines(only(deal.do(Cancel)), deal) == ("refund: debit escrow_hold:escrow 150000, credit wallet:alice 150000")
    assert deal.balance(AccountKind.PAYABLE, "bob") == 315000


def test_a_resolution_is_posted_from_the_frozen_money_not_from_the_hold() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(RaiseDispute, milestones=(2,))
    deal.do(ReviewDispute)
    assert lines(only(deal.do(ResolveDispute, resolution="split", seller_share="0.7")), deal) == (
        "split: debit disputed_funds:escrow 200000, credit payable:bob 126000, credit wallet:alice 54000, "
        "credit fee_revenue:platform 20000"
    )


def test_the_whole_story_leaves_every_account_where_the_specification_says() -> None:
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="paid")
    deal.do(RaiseDispute, milestones=(2,))
    deal.do(ReviewDispute)
    deal.do(ResolveDispute, resolution="buyer_favor")
    deal.do(Cancel)
    held, frozen = (
        deal.balance(kind, deal.escrow.id) for kind in (AccountKind.ESCROW_HOLD, AccountKind.DISPUTED_FUNDS)
    )
    assert (held, frozen) == (0, 0)
    assert deal.balance(AccountKind.WALLET, "alice") == -500000 + 350000
    assert deal.balance(AccountKind.GATEWAY_CASH, "stripe") == -135000
    assert deal.balance(AccountKind.FEE_REVENUE, "platform") == 15000
    assert deal.balance(AccountKind.PAYABLE, "bob") == 0


def test_the_account_kinds_are_those_of_the_specification() -> None:
    assert set(AccountKind) == {
        "gateway_cash", "wallet", "escrow_hold", "disputed_funds", "payable", "payout_in_transit", "fee_revenue",
        "dispute_fee_revenue", "receivable", "chargeback_hold", "platform_loss", "suspense",
    }  # fmt: skip
