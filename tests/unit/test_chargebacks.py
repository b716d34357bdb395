"""Payments that the payer's bank contests or takes back. Source: edge_cases.md, 16 to 18."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.commands import (
    ApproveMilestone,
    Cancel,
    CloseChargeback,
    Command,
    Complete,
    OpenChargeback,
    RaiseDispute,
    RecordPayout,
    Refund,
    ResolveDispute,
    ReverseMilestone,
    ReviewDispute,
    SendPayout,
    SubmitMilestone,
)
from models.errors import Refusal
from models.escrow import OPEN_MILESTONE
from models.facts import Party
from models.postings import PLATFORM, AccountKind
from models.states import ChargebackStatus, State
from tests.builders import BUYER, SELLER, SYSTEM, Deal, order, policies

DAY = timedelta(days=1)


def contested(state: State = State.IN_PROGRESS, amount: int = 500000, **fields: Any) -> Deal:
    """The usual deal in a state, with a chargeback of this amount open."""
    deal = Deal.at(state)
    deal.do(OpenChargeback, amount=amount, **fields)
    return deal


def lost(deal: Deal) -> Deal:
    """The deal once the bank has decided for the payer."""
    deal.do(CloseChargeback, outcome="lost")
    return deal


def taken(deal: Deal) -> int:
    """What left the platform by the gateway's cash, in minor units."""
    return -deal.balance(AccountKind.GATEWAY_CASH, "stripe")


def statuses(deal: Deal) -> list[str]:
    """The milestones' statuses, in order."""
    return [str(milestone.status) for milestone in deal.escrow.milestones]


def test_edge_17_the_contested_amount_goes_to_chargeback_hold_and_the_state_stays() -> None:
    deal = contested(amount=200000)
    escrow = deal.escrow
    assert (escrow.held, escrow.contested, escrow.refundable, escrow.state) == (300000, 200000, 300000, State.IN_PROGRESS)  # fmt: skip  # noqa: E501
    assert deal.balance(AccountKind.CHARGEBACK_HOLD, escrow.id) == 200000
    assert deal.balance(AccountKind.ESCROW_HOLD, escrow.id) == 300000
    assert deal.decisions[-1].events[0].type == "chargeback.opened"
    assert escrow.attention == "chargeback du_1 is open"


def test_edge_17_won_restores_the_money_and_the_deal_goes_on_as_before() -> None:
    deal = contested()
    deal.do(CloseChargeback, outcome="won")
    assert (deal.escrow.held, deal.escrow.contested, deal.escrow.charged_back) == (500000, 0, 0)
    assert deal.balance(AccountKind.CHARGEBACK_HOLD, deal.escrow.id) == taken(deal) == 0
    assert deal.escrow.attention is None
    assert deal.do(Complete).escrow.released == 500000


def test_edge_17_lost_is_the_banks_and_not_refunded_a_second_time() -> None:
    deal = contested()
    before = deal.funds.buyer.wallet
    lost(deal)
    assert taken(deal) == 500000
    assert deal.funds.buyer.wallet == before, "the buyer has it from the bank"
    assert (deal.escrow.charged_back, deal.escrow.refundable, deal.escrow.refunded) == (500000, 0, 0)
    assert (deal.escrow.state, statuses(deal)) == (State.CANCELLED, ["cancelled"] * 3)
    assert deal.escrow.finished
    for kind in (Refund, Cancel):
        assert deal.refused(kind).code == "invalid_transition"


def test_edge_17_lost_in_part_leaves_milestones_that_promise_what_is_left_the_last_gives_way_first() -> None:
    deal = lost(contested(amount=200000))
    assert deal.escrow.held == 300000
    assert statuses(deal) == ["pending", "pending", "cancelled"]
    assert [milestone.remaining for milestone in deal.escrow.milestones[:2]] == [150000, 150000]
    assert deal.do(Complete).escrow.released == 300000


def test_edge_17_what_no_milestone_claims_gives_way_before_any_milestone() -> None:
    deal = Deal.at(State.IN_PROGRESS, amount=500000, milestones=(150000, 200000))
    deal.do(OpenChargeback, amount=150000)
    lost(deal)
    assert [milestone.remaining for milestone in deal.escrow.milestones] == [150000, 200000]


def test_edge_17_lost_beyond_what_is_held_takes_back_what_was_released_in_the_clawback_order() -> None:
    """Of 500000 held are 350000; the other 150000 are 15000 of the fee and 135000 of the seller's."""
    deal = contested(State.MILESTONE_APPROVED)
    assert (deal.escrow.contested, deal.balance(AccountKind.PAYABLE, "bob")) == (350000, 135000)
    lost(deal)
    assert taken(deal) == 500000
    assert deal.balance(AccountKind.PAYABLE, "bob") == deal.balance(AccountKind.FEE_REVENUE, PLATFORM) == 0
    assert (deal.escrow.released, deal.escrow.charged_back) == (0, 500000)
    assert [str(payout.status) for payout in deal.escrow.payouts] == ["cancelled"]


def test_edge_17_what_the_seller_has_no_more_is_owed() -> None:
    deal = Deal.at(State.COMPLETED)
    deal.seller = Party(payable=-450000, wallet=100000)
    deal.do(OpenChargeback, amount=500000)
    lost(deal)
    assert deal.balance(AccountKind.RECEIVABLE, "bob") == 350000
    assert taken(deal) == 500000
    assert deal.escrow.state == State.COMPLETED


def test_edge_17_what_the_buyer_got_back_before_is_taken_out_of_the_wallet_or_owed() -> None:
    for wallet, owed in ((500000, 0), (200000, 300000)):
        deal = Deal.at(State.REFUNDED)
        deal.wallet = wallet - deal.balance(AccountKind.WALLET, "alice")
        deal.do(OpenChargeback, amount=500000)
        lost(deal)
        assert (deal.funds.buyer.wallet, deal.balance(AccountKind.RECEIVABLE, "alice")) == (
            wallet - 500000 + owed,
            owed,
        )
        assert taken(deal) == 500000


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Cancel, {}),
        (Complete, {}),
        (ApproveMilestone, {"milestone": 1}),
        (ReverseMilestone, {"milestone": 2, "amount": 1}),
        (RaiseDispute, {"milestones": (2,)}),
    ],
)
def test_edge_18_nothing_is_refunded_released_or_frozen_while_a_chargeback_is_open(
    kind: type[Command], fields: dict[str, Any]
) -> None:
    """Even of the part that is not contested: what is left may be needed."""
    state = State.MILESTONE_PENDING if kind is ApproveMilestone else State.IN_PROGRESS
    refusal = contested(state, amount=100000).refused(kind, **fields)
    assert refusal.code == "chargeback_open"
    assert "du_1" in refusal.message
    assert refusal.kind.retry_may_help


@pytest.mark.parametrize("amount", [None, 400000])
def test_edge_18_the_buyers_refund_while_a_chargeback_is_open_is_refused(amount: int | None) -> None:
    deal = contested(State.FUNDED, amount=100000)
    assert deal.refused(Refund, amount=amount).code == "chargeback_open"
    deal.do(CloseChargeback, outcome="won")
    assert deal.do(Refund).escrow.refunded == 500000


def test_edge_18_when_it_is_lost_the_rest_can_be_refunded_and_only_the_rest() -> None:
    deal = lost(contested(State.FUNDED, amount=100000))
    refusal = deal.refused(Refund, amount=500000)
    assert (refusal.code, refusal.details) == ("refund_amount_mismatch", {"refundable": 400000})
    assert deal.do(Refund).escrow.refunded == 400000


def test_edge_18_a_dispute_is_not_resolved_while_a_chargeback_is_open() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(RaiseDispute, milestones=(1,))
    deal.do(ReviewDispute)
    deal.do(OpenChargeback, amount=100000)
    for resolution in ("buyer_favor", "seller_favor", "mediation"):
        assert deal.refused(ResolveDispute, resolution=resolution).code == "chargeback_open"
    deal.do(CloseChargeback, outcome="won")
    assert deal.do(ResolveDispute, resolution="buyer_favor").escrow.refunded == 150000


def test_edge_17_money_in_dispute_is_contested_after_what_is_held_and_won_it_is_in_dispute_again() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(RaiseDispute, milestones=(1,))
    deal.do(OpenChargeback, amount=400000)
    assert (deal.escrow.held, deal.escrow.disputed, deal.escrow.contested) == (0, 100000, 400000)
    assert moments(deal) == [], "nor is the dispute decided by silence meanwhile"
    deal.now += 60 * DAY
    deal.do(CloseChargeback, outcome="won")
    assert (deal.escrow.held, deal.escrow.disputed, deal.escrow.contested) == (350000, 150000, 0)
    assert moments(deal) == [deal.now + 30 * DAY]
    for kind, account in (
        (deal.escrow.held, AccountKind.ESCROW_HOLD),
        (deal.escrow.disputed, AccountKind.DISPUTED_FUNDS),
    ):
        assert deal.balance(account, deal.escrow.id) == kind


def test_edge_17_a_chargeback_over_money_in_dispute_can_be_lost_and_ends_the_dispute() -> None:
    """Neither waits for the other for ever: the bank has taken its money, whatever the dispute says."""
    deal = Deal.at(State.DISPUTED)
    deal.do(ReviewDispute)
    deal.do(OpenChargeback, amount=500000)
    assert deal.refused(ResolveDispute, resolution="mediation").code == "chargeback_open"
    lost(deal)
    assert taken(deal) == deal.escrow.charged_back == 500000
    assert (deal.escrow.held, deal.escrow.disputed, deal.escrow.refundable) == (0, 0, 0)
    assert (deal.escrow.state, deal.escrow.open_dispute, moments(deal)) == (State.CANCELLED, None, [])


def test_edge_17_lost_in_part_a_dispute_goes_on_over_what_is_left() -> None:
    """Of 150000 in dispute the bank took 50000: the verdict divides 100000, and no unit is orphaned."""
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(RaiseDispute, milestones=(1,))
    deal.do(ReviewDispute)
    deal.do(OpenChargeback, amount=400000)
    lost(deal)
    assert (deal.escrow.state, deal.escrow.disputed, deal.escrow.held) == (State.DISPUTED, 100000, 0)
    settled = deal.do(ResolveDispute, resolution="split", seller_share="0.7").settlement
    assert settled is not None
    division = settled.division
    parts = (division.platform_fee.amount, division.seller_payout.amount, division.buyer_refund.amount)
    assert parts == (10000, 63000, 27000)
    assert (deal.escrow.state, deal.escrow.refundable) == (State.COMPLETED, 0)


def moments(deal: Deal) -> list[datetime]:
    """When the escrow acts by itself."""
    return [deadline.due_at for deadline in deal.escrow.deadlines]


def test_every_review_stops_while_a_chargeback_is_open_and_begins_anew_when_it_is_won() -> None:
    deal = contested(State.MILESTONE_PENDING, amount=1)
    assert moments(deal) == []
    deal.do(SubmitMilestone, milestone=2)
    assert moments(deal) == []
    deal.now += 60 * DAY
    deal.do(CloseChargeback, outcome="won")
    assert moments(deal) == [deal.now + 14 * DAY] * 2
    assert deal.reach().escrow.released in {150000, 200000}


def test_edge_16_a_failed_charge_is_frozen_while_it_is_held() -> None:
    deal = contested(amount=500000, kind="failed_charge", reference="pi_1")
    assert (deal.escrow.held, deal.escrow.contested) == (0, 500000)
    assert deal.refused(Complete).code == "chargeback_open"
    lost(deal)
    assert (taken(deal), deal.escrow.state) == (500000, State.CANCELLED)


def test_edge_16_what_was_released_of_a_failed_charge_is_taken_back_at_once_in_the_clawback_order() -> None:
    """The money never came: 15000 of the fee, and of the seller's 135000 first payable, then wallet, then a debt."""
    deal = Deal.at(State.MILESTONE_APPROVED)
    deal.seller = Party(payable=-35000, wallet=20000)
    deal.do(OpenChargeback, amount=500000, kind="failed_charge", reference="pi_1")
    assert taken(deal) == 150000
    assert deal.balance(AccountKind.PAYABLE, "bob") == 35000
    assert deal.balance(AccountKind.WALLET, "bob") == -20000
    assert deal.balance(AccountKind.RECEIVABLE, "bob") == 15000
    assert deal.balance(AccountKind.FEE_REVENUE, PLATFORM) == 0
    lost(deal)
    assert taken(deal) == 500000, "closing takes the frozen part, and nothing twice"


def test_edge_16_a_failed_charge_that_arrives_after_all_leaves_nothing_with_the_bank() -> None:
    """150000 were taken back at once: a bank that then says it has paid gives them back too, or may not say so."""
    deal = contested(State.MILESTONE_APPROVED, amount=500000, kind="failed_charge", reference="pi_1")
    answer = deal.respond(order(CloseChargeback, deal.escrow, outcome="won"))
    assert isinstance(answer, Refusal) or taken(deal) == deal.escrow.charged_back == 0


def test_a_failed_charge_of_a_part_leaves_released_money_alone_while_enough_is_held() -> None:
    deal = contested(State.MILESTONE_APPROVED, amount=350000, kind="failed_charge", reference="pi_1")
    assert (taken(deal), deal.balance(AccountKind.PAYABLE, "bob")) == (0, 135000)


def test_only_one_chargeback_is_open_at_a_time_and_a_reference_counts_once() -> None:
    deal = contested(amount=1)
    assert deal.refused(OpenChargeback, amount=1, reference="du_2").code == "chargeback_open"
    deal.do(CloseChargeback, outcome="won")
    assert deal.refused(OpenChargeback, amount=1, reference="du_1").code == "chargeback_open"
    deal.do(OpenChargeback, amount=1, reference="du_2")
    assert [str(one.status) for one in deal.escrow.chargebacks] == [ChargebackStatus.WON, ChargebackStatus.OPEN]


def test_no_more_is_charged_back_than_was_paid_in_and_has_not_gone_back_already() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    assert deal.refused(OpenChargeback, amount=500001).details == {"refundable": 500000}
    deal.do(OpenChargeback, amount=200000)
    lost(deal)
    assert deal.refused(OpenChargeback, amount=300001, reference="du_2").details == {"refundable": 300000}
    assert Deal.at(State.CREATED).refused(OpenChargeback, amount=1).code == "invalid_transition"


def test_only_the_chargeback_that_is_open_can_be_closed() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    assert deal.refused(CloseChargeback, outcome="won").code == "not_found"
    deal.do(OpenChargeback, amount=1)
    deal.do(CloseChargeback, outcome="won", chargeback=deal.escrow.chargebacks[0].id)
    assert deal.refused(CloseChargeback, outcome="lost").code == "not_found"


def test_the_bank_is_heard_through_an_operator_or_the_system_not_through_a_party() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    for party in (BUYER, SELLER):
        assert deal.refused(OpenChargeback, by=party, amount=1).code == "forbidden"
    deal.do(OpenChargeback, by=SYSTEM, amount=1)
    for party in (BUYER, SELLER):
        assert deal.refused(CloseChargeback, by=party, outcome="won").code == "forbidden"


STORY: tuple[tuple[type[Command], dict[str, Any]], ...] = (
    (SubmitMilestone, {"milestone": 1}),
    (ApproveMilestone, {"milestone": 1}),
    (SubmitMilestone, {"milestone": 2}),
    (ApproveMilestone, {"milestone": 2}),
    (ReverseMilestone, {"milestone": 1, "amount": 33}),
    (ReverseMilestone, {"milestone": 2, "amount": 77}),
    (RaiseDispute, {"milestones": (2,)}),
    (RaiseDispute, {}),
    (ReviewDispute, {}),
    (ResolveDispute, {"resolution": "split", "seller_share": "0.37"}),
    (ResolveDispute, {"resolution": "mediation"}),
    (SendPayout, {}),
    (RecordPayout, {"outcome": "paid"}),
    (Complete, {}),
    (Cancel, {}),
)


@pytest.mark.parametrize("payer", ["seller", "buyer", "both"])
@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(STORY), max_size=10), st.sampled_from(["won", "lost"]), st.booleans(), st.data())
def test_edge_17_whatever_happened_before_the_bank_gets_its_amount_or_nothing_and_no_account_falls_below_zero(
    payer: str, story: list[tuple[type[Command], dict[str, Any]]], outcome: str, late: bool, data: st.DataObject
) -> None:
    deal = Deal.at(State.IN_PROGRESS, policies("0.0777", payer=payer), amount=300, milestones=(100, 150))
    for kind, fields in story:
        if kind in {SendPayout, RecordPayout} and not deal.escrow.payouts:
            continue
        if kind in {ReviewDispute, ResolveDispute} and not deal.escrow.disputes:
            continue
        deal.respond(order(kind, deal.escrow, **fields))
    paid_out = taken(deal)
    amount = data.draw(st.integers(1, deal.escrow.funded) | st.just(deal.escrow.funded))
    deal.do(OpenChargeback, amount=amount, kind="failed_charge" if late else "chargeback")
    chargeback = deal.escrow.open_chargeback
    assert chargeback is not None
    if late and outcome == "won" and chargeback.frozen < amount:  # a part was taken back already, and that stands
        assert deal.refused(CloseChargeback, outcome="won").code == "invalid_command"
        outcome = "lost"
    deal.do(CloseChargeback, outcome=outcome)
    escrow = deal.escrow
    gone = amount if outcome == "lost" else 0
    if outcome == "lost" or not late:
        assert taken(deal) - paid_out == escrow.charged_back == gone
    held = {kind: deal.balance(kind, escrow.id) for kind in (AccountKind.ESCROW_HOLD, AccountKind.DISPUTED_FUNDS, AccountKind.CHARGEBACK_HOLD)}  # fmt: skip  # noqa: E501
    assert list(held.values()) == [escrow.held, escrow.disputed, escrow.contested]
    parts = (escrow.held, escrow.disputed, escrow.contested, escrow.released, escrow.refunded, escrow.charged_back)
    assert escrow.funded == sum(parts)
    assert min(parts) >= 0
    assert deal.balance(AccountKind.PAYABLE, "bob") >= 0
    assert sum(one.remaining for one in escrow.milestones if one.status in OPEN_MILESTONE) <= escrow.principal
    assert escrow.terminal == (escrow.held == escrow.disputed == 0)


def test_edge_17_the_banks_verdict_is_recorded_whoever_is_blocked() -> None:
    """All of the deal's amount is gone; what the buyer had added for the fee may wait, the bank's money may not."""
    deal = Deal.at(State.IN_PROGRESS, policies(payer="buyer"))
    deal.do(OpenChargeback, amount=500000)
    deal.seller = Party(blocked_because="court order 7/26")
    lost(deal)
    assert taken(deal) == 500000
