"""When released money may go, and what holds it. Source: domain.md, sections 9 and 11; edge cases 10 and 13."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.commands import (
    ApproveMilestone,
    Complete,
    PayoutOverride,
    ReachDeadline,
    RecordPayout,
    ReleaseOverride,
    RequestPayout,
    RetryPayout,
    SendPayout,
    SubmitMilestone,
)
from models.decision import Decision
from models.errors import Refusal
from models.escrow import Payout
from models.facts import Carried, Party
from models.payout_terms import PayoutTerms
from models.policies import Policies, ReleasePolicy
from models.postings import AccountKind
from models.rules.creation import blank
from models.states import MilestoneStatus, PayoutStatus, State
from tests.builders import BUYER, NOW, OPERATOR, PLATFORM, SELLER, SYSTEM, Deal, a_create, new_id, order, policies

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def on(**terms: Any) -> Policies:
    """The usual policies with these payout terms."""
    return policies(release=ReleasePolicy(payout=PayoutTerms(**terms)))


def approved(**terms: Any) -> Deal:
    """The usual deal under these terms, with 135000 of milestone 1 released."""
    return Deal.at(State.MILESTONE_APPROVED, on(**terms))


def latest(deal: Deal) -> Payout:
    """The deal's latest payout."""
    return deal.escrow.payouts[-1]


def types(decision: Decision) -> list[str]:
    """What a decision tells of payouts."""
    return [one.type for one in decision.events if one.type.startswith("payout.")]


def release(deal: Deal, milestone: int) -> Decision:
    """Submit and approve a milestone."""
    deal.do(SubmitMilestone, milestone=milestone)
    return deal.do(ApproveMilestone, milestone=milestone)


def decline(deal: Deal) -> None:
    """Send the latest payout and let the gateway decline it."""
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="failed", reason="account closed")


def test_by_default_a_payout_goes_at_release() -> None:
    deal = approved()
    assert types(deal.decisions[-1]) == ["payout.due"]
    assert (latest(deal).hold, latest(deal).going, latest(deal).ready_at) == (None, True, None)
    assert deal.escrow.deadlines == ()


def test_a_clearance_period_holds_it_says_until_when_and_lets_it_go_then() -> None:
    deal = approved(trigger="time", clearance=timedelta(days=7))
    payout = latest(deal)
    assert (payout.hold, payout.ready_at) == ("clearance", NOW + 7 * DAY)
    assert payout.reason == "clears on 2026-06-08 12:00 UTC"
    assert types(deal.decisions[-1]) == ["payout.held"]
    assert deal.next_deadline.due_at == NOW + 7 * DAY
    assert types(deal.reach()) == ["payout.due"]
    assert (latest(deal).hold, latest(deal).reason, latest(deal).going) == (None, None, True)


def test_each_release_has_a_clearance_period_of_its_own() -> None:
    deal = approved(trigger="time", clearance=timedelta(days=7))
    deal.now += DAY
    release(deal, 2)
    assert [payout.ready_at for payout in deal.escrow.payouts] == [NOW + 7 * DAY, NOW + 8 * DAY]


def wedding(**terms: Any) -> Deal:
    """A wedding on 2026-06-15, whose milestones are due on 06-15, 05-16 and 06-16; work has begun on 06-01."""
    return Deal.at(
        State.IN_PROGRESS, on(**terms), milestones=(), template="wedding", event_date=date(2026, 6, 15), amount=100000
    )


@pytest.mark.parametrize(("milestone", "ready"), [(1, datetime(2026, 6, 15, tzinfo=UTC)), (2, None)])
def test_without_a_clearance_period_it_goes_at_the_milestones_due_date(milestone: int, ready: datetime | None) -> None:
    """Due on 2026-06-15 it waits until that day begins, in UTC; due a month ago it goes at once."""
    deal = wedding(trigger="time")
    release(deal, milestone)
    assert latest(deal).hold == ("clearance" if ready else None)
    if ready:
        assert deal.next_deadline.due_at == ready
        assert types(deal.reach()) == ["payout.due"]


def test_what_is_released_together_goes_at_the_last_due_date() -> None:
    deal = wedding(trigger="time")
    deal.do(Complete)
    assert latest(deal).ready_at == datetime(2026, 6, 16, tzinfo=UTC)


def test_a_milestone_without_a_due_date_has_nothing_to_wait_for() -> None:
    assert latest(approved(trigger="time")).hold is None


@pytest.mark.parametrize("somebody", [SELLER, OPERATOR, PLATFORM])
def test_under_trigger_manual_it_waits_until_somebody_asks(somebody: Any) -> None:
    deal = approved(trigger="manual")
    assert (latest(deal).hold, latest(deal).reason) == ("manual", "waits until somebody asks for it")
    assert deal.escrow.deadlines == (), "time alone never sends it"
    assert types(deal.do(RequestPayout, by=somebody)) == ["payout.due"]
    assert latest(deal).going


def test_the_system_looks_at_it_again_but_does_not_ask_for_it() -> None:
    deal = approved(trigger="manual")
    assert deal.refused(RequestPayout, by=SYSTEM).code == "payout_held"


def test_the_buyer_cannot_ask_for_the_sellers_payout() -> None:
    assert approved(trigger="manual").refused(RequestPayout, by=BUYER).code == "forbidden"


@pytest.mark.parametrize("terms", [{"trigger": "time", "clearance": 7 * DAY}, {"minimum": 135001}])
def test_asking_shortens_neither_a_clearance_period_nor_the_minimum_and_the_refusal_says_what_holds(
    terms: dict[str, Any],
) -> None:
    deal = approved(**terms)
    refusal = deal.refused(RequestPayout)
    assert (refusal.code, refusal.details) == (
        "payout_held",
        {"hold": latest(deal).hold, "reason": latest(deal).reason},
    )
    assert refusal.kind.retry_may_help


def test_what_goes_already_cannot_be_asked_for() -> None:
    deal = approved()
    assert deal.refused(RequestPayout).code == "invalid_transition"
    deal.do(SendPayout)
    assert deal.refused(RequestPayout).code == "invalid_transition"


@pytest.mark.parametrize(
    "terms", [{"trigger": "time", "clearance": 7 * DAY}, {"trigger": "manual"}, {"minimum": 135001}]
)
def test_a_payout_that_is_held_is_not_sent(terms: dict[str, Any]) -> None:
    deal = approved(**terms)
    deal.respond(order(SendPayout, deal.escrow))
    assert latest(deal).status == PayoutStatus.DUE
    assert deal.balance(AccountKind.PAYABLE, "bob") == 135000


def test_a_clearance_period_without_trigger_time_is_refused_when_the_policy_is_written() -> None:
    for trigger in ("event", "manual"):
        with pytest.raises(ValidationError, match="clearance goes with trigger 'time'"):
            PayoutTerms.model_validate({"trigger": trigger, "clearance": DAY})


def test_an_escrow_may_have_payout_terms_of_its_own() -> None:
    own = ReleaseOverride(payout=PayoutOverride(trigger="manual"))
    deal = Deal.at(State.MILESTONE_APPROVED, on(minimum=700), by=PLATFORM, release=own)
    assert latest(deal).hold == "manual"
    assert deal.escrow.release.payout.minimum == 700


def test_no_party_sets_the_terms_of_payout_for_itself() -> None:
    for party in (BUYER, SELLER):
        create = a_create(by=party, release=ReleaseOverride(payout=PayoutOverride(trigger="event")))
        answer = Deal(blank(create, NOW, policies().release, 0), policies()).respond(create)
        assert isinstance(answer, Refusal)
        assert answer.code == "forbidden"


def test_an_operator_may_send_what_is_below_the_minimum() -> None:
    """A seller who leaves gets the last of it; the seller's own asking changes nothing."""
    deal = approved(minimum=200000)
    assert deal.refused(RequestPayout, by=SELLER).code == "payout_held"
    deal.do(RequestPayout, by=OPERATOR)
    assert latest(deal).going


def test_a_payout_goes_to_the_account_of_the_moment_when_it_is_sent() -> None:
    """What was released before the seller changed the account does not go to the old one."""
    deal = approved(trigger="time", clearance=DAY)
    deal.destination = "acct_new"
    deal.reach()
    deal.do(SendPayout)
    assert latest(deal).destination == "acct_new"


def test_days_of_waiting_are_looked_at_once_after_an_outage() -> None:
    """The look that was due days ago plans the next one from now on."""
    deal = approved(minimum=200000)
    late = deal.next_deadline.due_at + timedelta(days=400)
    deal.now = deal.next_deadline.due_at
    deal.play(order(ReachDeadline, deal.escrow), replace(deal.funds, asked_at=late))
    assert deal.next_deadline.due_at == late + DAY


def test_below_the_minimum_it_is_carried_forward_and_says_what_is_missing() -> None:
    deal = approved(minimum=200000)
    assert (latest(deal).hold, latest(deal).status) == ("minimum", PayoutStatus.DUE)
    assert latest(deal).reason == "carried forward: 1,350.00 EUR of at least 2,000.00 EUR is owed to the seller"
    assert deal.next_deadline.due_at == NOW + DAY


def test_the_minimum_itself_is_enough() -> None:
    assert latest(approved(minimum=135000)).hold is None


def test_what_was_carried_forward_in_this_escrow_goes_with_the_release_that_reaches_the_minimum() -> None:
    deal = approved(minimum=200000)
    decision = release(deal, 2)
    assert types(decision) == ["payout.due", "payout.due"]
    assert [(payout.hold, payout.going) for payout in deal.escrow.payouts] == [(None, True)] * 2
    assert deal.escrow.deadlines == ()
    assert decision.carried_along == ()


def test_what_was_carried_forward_in_other_escrows_counts_and_goes_along() -> None:
    elsewhere = Carried(payout=new_id("pay"), escrow=new_id("esc"), amount=65000)
    for amount, held in ((64999, "minimum"), (65000, None)):
        deal = Deal.at(State.MILESTONE_PENDING, on(minimum=200000))
        deal.seller = Party(carried=(elsewhere.model_copy(update={"amount": amount}),))
        decision = deal.do(ApproveMilestone)
        assert latest(deal).hold == held
        assert decision.carried_along == (() if held else deal.seller.carried)


def test_without_a_minimum_nothing_of_other_escrows_is_touched() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    deal.seller = Party(carried=(Carried(payout=new_id("pay"), escrow=new_id("esc"), amount=1),))
    assert deal.do(ApproveMilestone).carried_along == ()


def test_the_day_after_it_is_looked_at_again_and_goes_if_there_is_enough_by_then() -> None:
    deal = approved(minimum=200000)
    assert latest(deal).hold == "minimum"
    deal.reach()
    assert latest(deal).hold == "minimum"
    assert deal.next_deadline.due_at == NOW + 2 * DAY
    deal.seller = Party(carried=(Carried(payout=new_id("pay"), escrow=new_id("esc"), amount=65000),))
    deal.reach()
    assert latest(deal).going


@settings(deadline=None)
@given(st.integers(1, 2000), st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_what_goes_at_once_reaches_the_minimum_and_what_waits_never_does(minimum: int, parts: list[int]) -> None:
    release_policy = ReleasePolicy(max_milestones=20, payout=PayoutTerms(minimum=minimum))
    deal = Deal.at(State.IN_PROGRESS, policies("0", release=release_policy), amount=sum(parts), milestones=tuple(parts))
    sent = 0
    for number in range(1, len(parts) + 1):
        release(deal, number)
        going = sum(payout.amount for payout in deal.escrow.payouts if payout.going)
        assert going == sent or going - sent >= minimum
        assert sum(payout.amount for payout in deal.escrow.payouts if payout.hold) < minimum
        sent = going


def test_edge_10_a_declined_payout_is_tried_again_after_1_2_4_8_and_16_hours_and_then_by_hand_only() -> None:
    deal = approved()
    waits = []
    for generation in range(1, 6):
        decline(deal)
        assert (latest(deal).status, latest(deal).generation) == (PayoutStatus.FAILED, generation)
        waits.append(deal.next_deadline.due_at - deal.now)
        assert types(deal.reach()) == ["payout.due"]
    assert waits == [HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 16 * HOUR]
    decline(deal)
    assert deal.escrow.deadlines == ()
    assert deal.escrow.attention is not None
    deal.do(RetryPayout)
    assert (latest(deal).generation, latest(deal).going) == (7, True)


def test_the_back_off_is_never_longer_than_a_day_unless_the_policy_begins_with_more() -> None:
    for first, expected in ((HOUR, DAY), (3 * DAY, 3 * DAY)):
        deal = approved(retries=20, retry_after=first)
        for _ in range(8):
            decline(deal)
            wait = deal.next_deadline.due_at - deal.now
            deal.reach()
        assert wait == expected


def test_with_no_retries_a_declined_payout_waits_for_a_person() -> None:
    deal = approved(retries=0)
    decline(deal)
    assert deal.escrow.deadlines == ()


def test_a_retry_by_hand_takes_the_place_of_the_one_by_policy() -> None:
    deal = approved()
    decline(deal)
    planned = deal.next_deadline
    deal.do(RetryPayout)
    late = deal.refused(ReachDeadline, deadline=planned.id, generation=planned.generation)
    assert late.code == "invalid_transition"
    assert latest(deal).generation == 2


def test_a_retry_is_not_held_by_terms_that_were_met_before() -> None:
    for terms in ({"trigger": "manual"}, {"minimum": 200000}):
        deal = approved(**terms)
        release(deal, 2) if "minimum" in terms else deal.do(RequestPayout)
        decline(deal)
        deal.do(RetryPayout)
        assert latest(deal).going


def test_edge_13_nothing_is_sent_to_a_destination_that_is_known_to_be_invalid() -> None:
    deal = approved()
    deal.seller = Party(invalid_destination="acct_bob", invalid_because="account closed")
    decision = deal.do(SendPayout)
    assert decision.transactions == ()
    assert latest(deal).status == PayoutStatus.FAILED
    assert latest(deal).reason == "the destination acct_bob is invalid: account closed"
    assert deal.balance(AccountKind.PAYABLE, "bob") == 135000
    deal.do(RetryPayout, destination="acct_new")
    deal.do(SendPayout)
    assert (latest(deal).status, latest(deal).destination) == (PayoutStatus.IN_TRANSIT, "acct_new")


def test_edge_13_a_payout_that_came_back_days_later_is_payable_again_and_its_destination_invalid() -> None:
    deal = approved()
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="paid", reference="tr_1")
    assert [str(one.status) for one in deal.escrow.milestones] == ["paid", "pending", "pending"]
    cash = deal.balance(AccountKind.GATEWAY_CASH, "stripe")
    deal.now += 5 * DAY
    decision = deal.do(RecordPayout, outcome="returned", reason="account closed")
    assert deal.balance(AccountKind.PAYABLE, "bob") == 135000
    assert deal.balance(AccountKind.GATEWAY_CASH, "stripe") == cash + 135000
    invalid = decision.invalid_destination
    assert invalid is not None
    assert (invalid.party, invalid.destination, invalid.because) == ("bob", "acct_bob", "account closed")
    assert types(decision) == ["payout.returned"]
    assert decision.events[-1].data["reason"] == "account closed"
    assert deal.escrow.milestones[0].status == MilestoneStatus.APPROVED
    assert deal.escrow.attention is not None
    assert "account closed" in deal.escrow.attention


def test_edge_13_only_a_payout_that_was_paid_can_come_back_and_only_once() -> None:
    deal = approved()
    assert deal.refused(RecordPayout, outcome="returned").code == "invalid_transition"
    deal.do(SendPayout)
    assert deal.refused(RecordPayout, outcome="returned").code == "invalid_transition"
    deal.do(RecordPayout, outcome="paid")
    deal.do(RecordPayout, outcome="returned")
    assert deal.refused(RecordPayout, outcome="returned").code == "invalid_transition"


def test_a_returned_payout_is_not_tried_again_by_itself() -> None:
    deal = approved()
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="paid")
    deal.do(RecordPayout, outcome="returned")
    assert deal.escrow.deadlines == ()
    assert not deal.escrow.finished
