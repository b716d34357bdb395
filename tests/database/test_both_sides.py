"""What is shown of a difference: the provider's lines of it, and the ledger transactions that moved the same money."""

from datetime import UTC, datetime

from ledger import corrections
from ledger.both_sides import both_sides
from ledger.corrections import Proposal
from models.commands import CloseChargeback, OpenChargeback, RecordPayout, SendPayout
from models.ids import payout_key
from models.reconciliation import Difference, MovementKind
from models.states import State
from tests.builders import new_id
from tests.market import GATEWAY, Market
from tests.telling import run


def a_difference(
    kind: MovementKind | None, subject: str, provider: str = GATEWAY, escrow: str | None = None
) -> Difference:
    """One about a subject."""
    now = datetime.now(UTC)
    return Difference(
        id=new_id("dif"), provider=provider, compared="provider", cause="amount_differs", kind=kind, subject=subject,
        since=now, first_seen=now, last_seen=now, says="", remedy="", status="open", escrow=escrow,
    )  # fmt: skip


def memos(market: Market, difference: Difference) -> list[str]:
    """What our transactions of it are called, in order."""
    return [one.memo for one in both_sides(market.engine, difference)[1]]


def test_each_kind_of_movement_is_shown_with_our_transactions_of_it_and_no_others(market: Market) -> None:
    """A charge, a payout that came back, a payment that a bank took; what two escrows did is kept apart."""
    charge = market.top_up(7000)
    paid, other = market.at(State.MILESTONE_APPROVED), market.at(State.MILESTONE_APPROVED)
    for escrow in (paid, other):
        market.do(SendPayout, escrow)
        market.do(RecordPayout, escrow, outcome="paid", reference="tr_1")
    market.do(RecordPayout, market.escrow(paid), outcome="returned", reason="closed")
    lost = market.do(OpenChargeback, market.at(State.IN_PROGRESS), amount=300000, reference=f"du_{market.tenant}")
    market.do(CloseChargeback, lost, outcome="lost")
    (returned,), (sent,) = market.escrow(paid).payouts, market.escrow(other).payouts
    assert memos(market, a_difference("charge", charge.id)) == ["top up"]
    assert memos(market, a_difference("payout", payout_key(sent.id, 1))) == ["payout sent", "payout paid"]
    came_back = a_difference("payout_return", payout_key(returned.id, 1), escrow=paid.id)
    assert memos(market, came_back) == ["payout sent", "payout paid", "payout returned"]
    contested = a_difference("contested", lost.chargebacks[0].reference, escrow=lost.id)
    assert memos(market, contested) == ["contest", "charge back"]
    assert both_sides(market.engine, a_difference(None, lost.id)) == ([], [])


def test_the_providers_lines_and_what_was_corrected_are_shown(market: Market) -> None:
    """Lines without a name of ours go by their own id; a booked correction is ours from then on."""
    subject, nameless, found, provider = new_id("chg"), new_id("txn"), new_id("dif"), f"of {market.tenant}"
    for identifier, of in ((new_id("txn"), subject), (nameless, None), (new_id("txn"), new_id("chg"))):
        run(
            market.engine,
            """INSERT INTO provider_line (provider, id, type, kind, amount, fee, currency, subject, created_at)
               VALUES (:provider, :id, 'charge', 'charge', 5, 0, 'EUR', :subject, now())""",
            provider=provider,
            id=identifier,
            subject=of,
        )
    run(
        market.engine,
        """INSERT INTO difference (id, provider, compared, cause, kind, subject, tenant_id, theirs, currency, since,
               says, remedy)
           VALUES (:id, :provider, 'provider', 'missing_here', 'charge', :subject, :tenant, 5, 'EUR', now(), '', '')""",
        id=found,
        provider=provider,
        subject=subject,
        tenant=market.tenant,
    )
    booked = corrections.propose(market.engine, Proposal(difference=found, reason="Why", operator="olga"), 5)
    lines, ours = both_sides(market.engine, a_difference("charge", subject, provider))
    assert [(one.subject, one.amount) for one in lines] == [(subject, 5)]
    assert [(one.id, len(one.entries)) for one in ours] == [(booked.transaction, 2)]
    assert [one.id for one in both_sides(market.engine, a_difference("charge", nameless, provider))[0]] == [nameless]
