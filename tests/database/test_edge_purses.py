"""One seller's money across escrows, and the bank's word on it: netting, minimum, clawbacks, chargebacks."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest

from ledger import rates, tenants
from ledger.audit import verify
from models.commands import (
    Actor,
    ApproveMilestone,
    Cancel,
    CloseChargeback,
    Command,
    Complete,
    Fund,
    OpenChargeback,
    ReachDeadline,
    RecordPayout,
    Refund,
    RequestPayout,
    ResolveDispute,
    ReverseMilestone,
    ReviewDispute,
    SendPayout,
    StartWork,
    SubmitMilestone,
)
from models.escrow import Escrow, Payout
from models.exchange import Rate
from models.facts import Carried
from models.outcome import Outcome
from models.payout_terms import PayoutTerms
from models.policies import ReleasePolicy
from models.states import PayoutStatus, State
from tests.builders import OPERATOR, order
from tests.market import Market
from tests.servers import Servers

DAY = timedelta(days=1)


def latest(escrow: Escrow) -> Payout:
    """The latest payout."""
    return escrow.payouts[-1]


def approved(market: Market, **fields: Any) -> Escrow:
    """An escrow that released 135000 to its seller."""
    return market.at(State.MILESTONE_APPROVED, **fields)


def paid(market: Market, escrow: Escrow) -> Escrow:
    """Send the latest payout and record that it arrived."""
    return market.do(RecordPayout, market.do(SendPayout, escrow), outcome="paid")


def at_work(market: Market, seller: str) -> Escrow:
    """An escrow of 150000 with another seller, at work."""
    escrow = market.do(Fund, market.create(amount=150000, milestones=(), seller=seller))
    return market.do(StartWork, escrow, by=OPERATOR)


def later(market: Market, ahead: timedelta) -> None:
    """Move the tenant's clock."""
    tenants.move_clock(market.engine, market.tenant, ahead)


def owing(market: Market, amount: int = 50000) -> Escrow:
    """An escrow whose payout had arrived when this much was clawed back."""
    return market.do(ReverseMilestone, paid(market, approved(market)), amount=amount)


def receivable(market: Market, party: str = "bob") -> int:
    """What a party owes."""
    return market.balance("receivable", party)


def at_once(market: Market, commands: Sequence[Command]) -> list[Outcome]:
    """Apply commands on threads and connections of their own, let go at the same instant."""
    start = Barrier(len(commands))

    def run(command: Command) -> Outcome:
        start.wait()
        return market.apply(command)

    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(run, commands))


def test_what_a_seller_owes_is_netted_from_the_next_release_of_any_escrow(market: Market) -> None:
    """Owing 45000 from one deal, 135000 of another pay the debt first: 90000 are due."""
    owing(market)
    assert receivable(market) == 45000
    escrow = approved(market)
    assert (latest(escrow).amount, latest(escrow).netted, receivable(market)) == (90000, 45000, 0)
    paid(market, escrow)
    assert market.balance("payable", "bob") == 0


def test_what_a_seller_came_to_owe_after_a_release_is_netted_before_it_is_sent(market: Market) -> None:
    """The release of the one escrow came before the debt of the other, its sending after it."""
    indebted, waiting = paid(market, approved(market)), approved(market)
    market.do(SendPayout, waiting)
    market.do(ReverseMilestone, indebted, amount=50000)
    assert receivable(market) == 45000
    failed = market.do(RecordPayout, market.escrow(waiting), outcome="failed", reason="no")
    assert market.balance("payable", "bob") == 135000
    later(market, timedelta(hours=1, minutes=1))
    market.apply(order(ReachDeadline, failed))
    sent = market.do(SendPayout, market.escrow(failed))
    assert (latest(sent).amount, latest(sent).netted, receivable(market)) == (90000, 45000, 0)


def test_two_releases_at_once_pay_a_debt_once(servers: Servers) -> None:
    """Whichever comes first, 45000 go to the platform and the rest to the seller."""
    for _ in range(10):
        market = Market(servers.engine)
        owing(market)
        rivals = [market.at(State.MILESTONE_PENDING) for _ in range(2)]
        outcomes = at_once(market, [order(ApproveMilestone, one) for one in rivals])
        escrows = [outcome.escrow for outcome in outcomes if outcome.escrow]
        assert sorted(latest(one).netted for one in escrows) == [0, 45000]
        assert receivable(market) == 0


def test_a_debt_is_one_partys_in_one_currency_and_one_marketplace(market: Market) -> None:
    """Nobody pays another's, and euro are not netted from yen."""
    other = Market(market.engine)
    owing(market)
    market.top_up(10**6, currency="USD")
    dollar = Rate(base="USD", quote="EUR", rate=Decimal("0.92"), as_of=datetime.now(UTC).date(), source="bank")
    rates.put_rate(market.engine, market.tenant, dollar)
    assert latest(approved(other)).netted == 0
    assert latest(approved(market, currency="USD")).netted == 0
    assert latest(market.do(Complete, at_work(market, "carol"))).netted == 0
    assert receivable(market) == 45000


def test_what_a_party_owes_as_a_buyer_is_netted_from_what_it_earns_as_a_seller(market: Market) -> None:
    """A dispute fee of 1500 that alice's share could not cover comes out of what she sells to bob."""
    document = {
        "rules": [{"outcome": outcome, "rate": "0"} for outcome in ("release", "refund", "split", "reversal")],
        "dispute_fee": {"amount": 1500, "payer": "buyer"},
    }
    tenants.put_policy(market.engine, market.tenant, "fees", tenants.parse_policy("fees", document))
    escrow = market.do(ReviewDispute, market.at(State.DISPUTED))
    market.do(ResolveDispute, escrow, resolution="seller_favor")
    assert receivable(market, "alice") == 1500
    market.top_up(100000, party="bob")
    bob = Actor(role="buyer", party="bob")
    sold = market.create(amount=100000, milestones=(), buyer="bob", seller="alice", by=bob)
    for kind, by in ((Fund, bob), (StartWork, OPERATOR), (Complete, bob)):
        sold = market.do(kind, sold, by=by)
    assert (latest(sold).amount, latest(sold).netted, receivable(market, "alice")) == (98500, 1500, 0)


def test_a_clawback_may_take_a_payable_of_another_escrow_whose_payout_then_sends_what_is_left(market: Market) -> None:
    """A payable is one purse. Of 135000 that wait in one escrow 45000 go back for the other: 90000 are sent."""
    waiting, gone = approved(market), paid(market, approved(market))
    assert latest(gone).status == PayoutStatus.PAID
    market.do(ReverseMilestone, gone, amount=50000)
    assert (market.balance("payable", "bob"), receivable(market)) == (90000, 0)
    sent = market.do(SendPayout, waiting)
    assert (latest(sent).amount, market.balance("payout_in_transit", latest(sent).id)) == (90000, 90000)
    assert market.balance("payable", "bob") == 0


def test_a_payout_of_which_another_escrows_clawback_left_nothing_is_cancelled(market: Market) -> None:
    """It is not sent, does not fail for want of money, and its escrow can end."""
    waiting, gone = approved(market), paid(market, approved(market))
    market.do(ReverseMilestone, gone, amount=150000)
    cancelled = market.do(SendPayout, waiting)
    assert (latest(cancelled).status, latest(cancelled).unsettled) == (PayoutStatus.CANCELLED, False)
    assert "payout.cancelled" in market.events(waiting)
    market.do(Complete, cancelled)
    ended = paid(market, market.escrow(waiting))
    assert ended.finished


def test_a_clawback_and_a_payout_at_once_never_take_the_same_unit_twice(market: Market) -> None:
    """Either the payout has left and the seller owes, or it sends what is left: 135000 in all."""
    for _ in range(15):
        waiting, gone = approved(market), paid(market, approved(market))
        before = receivable(market)
        _, sent = at_once(market, [order(ReverseMilestone, gone, amount=50000), order(SendPayout, waiting)])
        assert sent.escrow is not None
        owed = receivable(market) - before
        assert latest(sent.escrow).amount in {90000, 135000}
        assert owed == latest(sent.escrow).amount - 90000
        assert market.balance("payable", "bob") == 0
        if owed:
            market.do(Complete, market.at(State.IN_PROGRESS, amount=50000, milestones=()))


def carrying(servers: Servers, minimum: int = 200000) -> Market:
    """A tenant that pays sellers from this minimum on."""
    return Market(servers.engine, release=ReleasePolicy(payout=PayoutTerms(minimum=minimum)))


def test_below_the_minimum_in_each_of_two_escrows_both_go_when_they_reach_it_together(servers: Servers) -> None:
    """135000 wait for the 135000 of another escrow, whose outcome names what goes along, and whose."""
    market = carrying(servers)
    first = approved(market)
    assert (latest(first).hold, latest(first).status) == ("minimum", PayoutStatus.DUE)
    second = market.at(State.MILESTONE_PENDING)
    approve = order(ApproveMilestone, second)
    outcome = market.apply(approve)
    assert outcome.escrow is not None
    assert latest(outcome.escrow).going
    assert outcome.carried_along == (Carried(payout=latest(first).id, escrow=first.id, amount=135000),)
    assert market.apply(approve) == outcome, "a repetition names them again"
    let_go = market.do(RequestPayout, first)
    assert latest(let_go).going
    for escrow in (let_go, market.escrow(second)):
        paid(market, escrow)
    assert market.balance("payable", "bob") == 0
    market.audit()


def test_a_release_by_silence_takes_along_what_was_carried_and_says_so(servers: Servers) -> None:
    """Whether its own deadline comes or a late command finds that it has come."""
    for late in (False, True):
        market = carrying(servers)
        first, second = approved(market), market.at(State.MILESTONE_PENDING)
        later(market, 15 * DAY)
        outcome = market.apply(order(SubmitMilestone, second, milestone=2) if late else order(ReachDeadline, second))
        assert [one.payout for one in outcome.carried_along] == [latest(first).id]


def test_should_nobody_tell_it_what_was_carried_goes_by_itself_within_a_day(servers: Servers) -> None:
    """The signal is the quick way; the deadline is the sure one."""
    market = carrying(servers)
    first = approved(market)
    approved(market)
    later(market, DAY + timedelta(minutes=1))
    market.apply(order(ReachDeadline, first))
    assert latest(market.escrow(first)).going


def test_a_day_later_it_is_still_held_if_there_is_still_not_enough(servers: Servers) -> None:
    """Looking again sends nothing by itself, and looks again the next day."""
    market = carrying(servers)
    first = approved(market)
    later(market, DAY + timedelta(minutes=1))
    market.apply(order(ReachDeadline, first))
    escrow = market.escrow(first)
    assert latest(escrow).hold == "minimum"
    assert [one.kind for one in escrow.deadlines] == ["pay_out"]


def test_what_goes_along_already_is_not_counted_a_second_time(servers: Servers) -> None:
    """The first two reach the minimum together; the third, of 90000, has to wait for others than them."""
    market = carrying(servers)
    approved(market)
    approved(market)
    third = market.at(State.MILESTONE_PENDING, amount=100000, milestones=(100000,))
    assert latest(market.do(ApproveMilestone, third)).hold == "minimum"


def test_the_minimum_counts_one_seller_of_one_tenant(servers: Servers) -> None:
    """Nobody's payout goes because of somebody else's money."""
    market, other = carrying(servers), carrying(servers)
    approved(other)
    first = approved(market)
    outcome = market.apply(order(Complete, at_work(market, "carol")))
    assert outcome.escrow is not None
    assert (latest(outcome.escrow).hold, outcome.carried_along) == ("minimum", ())
    assert latest(market.escrow(first)).hold == "minimum"


def test_two_escrows_that_reach_the_minimum_at_once_leave_nothing_behind(servers: Servers) -> None:
    """Each may see the other or not; together they always go."""
    for _ in range(10):
        market = carrying(servers)
        rivals = [market.at(State.MILESTONE_PENDING) for _ in range(2)]
        outcomes = at_once(market, [order(ApproveMilestone, one) for one in rivals])
        told = [carried for outcome in outcomes for carried in outcome.carried_along]
        assert len(told) == 1
        (held,) = [one for one in rivals if one.id == told[0].escrow]
        assert latest(market.do(RequestPayout, market.escrow(held))).going


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_edge_17_a_chargeback_in_mid_escrow_is_held_and_then_the_banks_or_the_escrows(
    market: Market, outcome: str
) -> None:
    """350000 of 500000 are still held: won they are held again, lost they and the 150000 released are gone."""
    escrow = approved(market)
    cash = market.balance("gateway_cash", "stripe")
    escrow = market.do(OpenChargeback, escrow, amount=500000)
    assert (market.balance("chargeback_hold", escrow.id), market.balance("escrow_hold", escrow.id)) == (350000, 0)
    wallet = market.balance("wallet", "alice")
    escrow = market.do(CloseChargeback, escrow, outcome=outcome)
    assert market.balance("chargeback_hold", escrow.id) == 0
    assert market.balance("wallet", "alice") == wallet, "not refunded a second time"
    lost = outcome == "lost"
    assert cash - market.balance("gateway_cash", "stripe") == (500000 if lost else 0)
    assert (escrow.held, escrow.charged_back) == ((0, 500000) if lost else (350000, 0))
    assert market.balance("payable", "bob") == (0 if lost else 135000)
    assert verify(market.engine, market.tenant).findings == []


@pytest.mark.parametrize(("amount", "state"), [(500000, State.CANCELLED), (400000, State.DISPUTED)])
def test_edge_17_a_chargeback_over_money_in_dispute_is_lost_through_the_books(
    market: Market, amount: int, state: State
) -> None:
    """Whole, the dispute is over; in part, it goes on over the rest. The accounts agree either way."""
    escrow = market.do(ReviewDispute, market.at(State.DISPUTED))
    escrow = market.do(OpenChargeback, escrow, amount=amount)
    assert market.balance("disputed_funds", escrow.id) == 500000 - amount
    escrow = market.do(CloseChargeback, escrow, outcome="lost")
    assert (escrow.state, escrow.charged_back, escrow.disputed) == (state, amount, 500000 - amount)
    if state == State.DISPUTED:
        assert market.do(ResolveDispute, escrow, resolution="buyer_favor").refunded == 100000
    assert verify(market.engine, market.tenant).findings == []


def test_edge_17_a_lost_chargeback_after_the_payout_is_owed_and_netted_from_the_sellers_next_deal(
    market: Market,
) -> None:
    """What the seller has been paid is gone: 450000 are owed, and the next release pays 135000 of them."""
    escrow = paid(market, market.at(State.COMPLETED))
    escrow = market.do(OpenChargeback, escrow, amount=500000)
    market.do(CloseChargeback, escrow, outcome="lost")
    assert receivable(market) == 450000
    assert approved(market).payouts == ()
    assert receivable(market) == 315000
    assert verify(market.engine, market.tenant).findings == []


def test_edge_16_a_late_failure_of_a_bank_debit_freezes_what_is_held_and_takes_back_what_was_released(
    market: Market,
) -> None:
    """At once: the money never came. Its payable goes back before it is sent."""
    escrow = approved(market)
    cash = market.balance("gateway_cash", "stripe")
    escrow = market.accept(order(OpenChargeback, escrow, amount=500000, kind="failed_charge", reference="pi_1"))
    assert (escrow.contested, escrow.released, latest(escrow).status) == (350000, 0, PayoutStatus.CANCELLED)
    assert market.balance("payable", "bob") == market.balance("fee_revenue", "platform") == 0
    market.do(CloseChargeback, escrow, outcome="lost")
    assert cash - market.balance("gateway_cash", "stripe") == 500000
    assert verify(market.engine, market.tenant).findings == []


def test_edge_18_the_buyers_refund_while_a_chargeback_is_open_is_refused_and_moves_nothing(market: Market) -> None:
    """Refund, cancel, and a reversal by the seller: the buyer would have the money twice."""
    escrow = market.do(OpenChargeback, market.at(State.FUNDED), amount=200000)
    wallet = market.balance("wallet", "alice")
    for kind, fields in ((Refund, {}), (Cancel, {}), (ReverseMilestone, {"milestone": 1, "amount": 1})):
        assert market.refused(kind, escrow, **fields).code == "chargeback_open"
    assert market.escrow(escrow) == escrow
    assert market.balance("wallet", "alice") == wallet


def test_edge_18_silence_releases_nothing_while_a_chargeback_is_open(market: Market) -> None:
    """The window ends, nothing happens; won, a whole new one begins."""
    escrow = market.do(OpenChargeback, market.at(State.MILESTONE_PENDING), amount=1)
    later(market, 20 * DAY)
    escrow = market.do(SubmitMilestone, escrow, milestone=2)
    assert (escrow.released, escrow.deadlines) == (0, ())
    escrow = market.do(CloseChargeback, escrow, outcome="won")
    assert sorted(one.kind for one in escrow.deadlines) == ["auto_approve", "auto_approve"]
    assert all(one.due_at - escrow.updated_at == 14 * DAY for one in escrow.deadlines)


def test_books_are_whole_after_a_bank_took_all_but_what_was_added_for_the_fee(servers: Servers) -> None:
    """What the buyer had added returns without a settlement of its own, and the check of the books knows that."""
    market = Market(servers.engine)
    document = {"rules": [{"outcome": "release", "rate": "0.10", "payer": "buyer"}]}
    tenants.put_policy(market.engine, market.tenant, "fees", tenants.parse_policy("fees", document))
    escrow = market.do(OpenChargeback, market.at(State.IN_PROGRESS), amount=500000)
    escrow = market.do(CloseChargeback, escrow, outcome="lost")
    assert (escrow.state, escrow.refunded, escrow.charged_back) == (State.CANCELLED, 50000, 500000)
    market.audit()
