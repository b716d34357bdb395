"""Windows of time: exact spans whatever the calendar does, shown in UTC, stopped by a withdrawal. Edges 34 and 39."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.commands import (
    AddEvidence,
    ApproveMilestone,
    RaiseDispute,
    ReachDeadline,
    RecordPayout,
    RejectMilestone,
    SendPayout,
    SubmitMilestone,
    WithdrawSubmission,
)
from models.payout_terms import PayoutTerms
from models.policies import DisputePolicy, ReleasePolicy
from models.states import MilestoneStatus, State
from tests.builders import BUYER, Deal, policies

DAY = timedelta(days=1)

# The moment something starts, and the moment 14 days later: 1,209,600 seconds, not "the same time of day".
FORTNIGHTS = [
    pytest.param("2026-03-20T12:00:00+01:00", "2026-04-03T11:00:00Z", id="summer time begins in Berlin"),
    pytest.param("2026-10-20T12:00:00+02:00", "2026-11-03T10:00:00Z", id="summer time ends in Berlin"),
    pytest.param("2026-03-01T09:30:00-05:00", "2026-03-15T14:30:00Z", id="summer time begins in New York"),
    pytest.param("2026-04-01T00:00:00+11:00", "2026-04-14T13:00:00Z", id="summer time ends in Sydney"),
    pytest.param("2028-02-20T00:00:00Z", "2028-03-05T00:00:00Z", id="a leap day"),
    pytest.param("2027-02-20T00:00:00Z", "2027-03-06T00:00:00Z", id="no leap day"),
    pytest.param("2100-02-20T00:00:00Z", "2100-03-06T00:00:00Z", id="a century without a leap day"),
    pytest.param("2028-02-15T12:00:00Z", "2028-02-29T12:00:00Z", id="ending on the leap day"),
    pytest.param("2026-12-25T23:59:59Z", "2027-01-08T23:59:59Z", id="a year's end"),
    pytest.param("2026-12-17T23:30:00Z", "2026-12-31T23:30:00Z", id="a leap second could come here"),
    pytest.param("2026-06-01T12:00:00.123456Z", "2026-06-15T12:00:00.123456Z", id="microseconds"),
]


def at(text: str) -> datetime:
    """A moment as somebody writes it, on the clock that rules go by: UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def started(state: State, begun: str, **policy: Any) -> Deal:
    """The usual deal in a state, whose clock then stands at a moment."""
    deal = Deal.at(state, policies(**policy))
    deal.now = at(begun)
    return deal


@pytest.mark.parametrize(("begun", "over"), FORTNIGHTS)
def test_edge_39_a_review_window_and_its_reminders_end_at_exact_instants(begun: str, over: str) -> None:
    deal = started(State.IN_PROGRESS, begun, release=ReleasePolicy(reminders=(13 * DAY,)))
    deal.do(SubmitMilestone)
    reminder, approval = sorted(deal.escrow.deadlines, key=lambda one: one.due_at)
    assert (reminder.due_at, approval.due_at) == (at(over) - DAY, at(over))


@pytest.mark.parametrize(("begun", "over"), FORTNIGHTS)
def test_edge_39_a_response_window_ends_at_an_exact_instant(begun: str, over: str) -> None:
    deal = started(State.IN_PROGRESS, begun, dispute=DisputePolicy(response_window=14 * DAY))
    deal.do(RaiseDispute)
    assert deal.next_deadline.due_at == at(over)
    deal.do(AddEvidence)
    assert deal.next_deadline.due_at == at(over)


@pytest.mark.parametrize(("begun", "over"), FORTNIGHTS)
def test_edge_39_a_clearance_period_ends_at_an_exact_instant_and_says_it_in_utc(begun: str, over: str) -> None:
    terms = PayoutTerms(trigger="time", clearance=14 * DAY)
    deal = Deal.at(State.MILESTONE_PENDING, policies(release=ReleasePolicy(payout=terms)))
    deal.now = at(begun)
    deal.do(ApproveMilestone)
    (payout,) = deal.escrow.payouts
    assert payout.ready_at == deal.next_deadline.due_at == at(over)
    assert payout.reason == f"clears on {at(over):%Y-%m-%d %H:%M} UTC"


@pytest.mark.parametrize(("begun", "over"), FORTNIGHTS)
def test_edge_39_a_retry_comes_at_an_exact_instant(begun: str, over: str) -> None:
    terms = PayoutTerms(retry_after=14 * DAY)
    deal = started(State.MILESTONE_PENDING, begun, release=ReleasePolicy(payout=terms))
    deal.escrow = deal.escrow.model_copy(update={"release": ReleasePolicy(payout=terms)})
    deal.do(ApproveMilestone)
    deal.do(SendPayout)
    deal.do(RecordPayout, outcome="failed")
    assert deal.next_deadline.due_at == at(over)


def test_edge_39_both_hours_that_a_clock_shows_twice_are_told_apart() -> None:
    """2026-10-25 02:30 comes twice in Berlin; two submissions an hour apart end an hour apart."""
    zone = ZoneInfo("Europe/Berlin")
    ends = []
    for fold in (0, 1):
        deal = Deal.at(State.IN_PROGRESS)
        deal.now = datetime(2026, 10, 25, 2, 30, tzinfo=zone, fold=fold).astimezone(UTC)
        deal.do(SubmitMilestone)
        ends.append(deal.next_deadline.due_at)
    assert ends == [at("2026-11-08T00:30:00Z"), at("2026-11-08T01:30:00Z")]


def test_edge_39_moments_are_shown_in_utc() -> None:
    deal = Deal.at(State.IN_PROGRESS)
    deal.do(SubmitMilestone)
    shown = json.loads(deal.escrow.model_dump_json())
    assert shown["deadlines"][0]["due_at"] == "2026-06-15T12:00:00Z"
    assert shown["updated_at"] == "2026-06-01T12:00:00Z"


@settings(deadline=None)
@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2150, 1, 1), timezones=st.timezones()),  # noqa: DTZ001 - its bounds are naive
    st.timedeltas(timedelta(seconds=1), timedelta(days=366)),
)
def test_edge_39_every_window_is_its_length_in_seconds_from_every_place_and_moment(
    begun: datetime, window: timedelta
) -> None:
    deal = Deal.at(State.IN_PROGRESS, policies(release=ReleasePolicy(review_window=window)))
    deal.now = begun.astimezone(UTC)
    deal.do(SubmitMilestone)
    assert deal.next_deadline.due_at.timestamp() - begun.timestamp() == pytest.approx(window.total_seconds(), abs=1e-4)


def test_edge_39_a_due_date_is_the_beginning_of_that_day_in_utc() -> None:
    deal = Deal.at(
        State.IN_PROGRESS,
        policies(release=ReleasePolicy(payout=PayoutTerms(trigger="time"))),
        milestones=(),
        template="party",
        event_date=at("2028-02-28T00:00:00Z").date(),
    )
    deal.do(SubmitMilestone, milestone=2)
    deal.do(ApproveMilestone, milestone=2)
    assert deal.escrow.payouts[0].ready_at == at("2028-02-29T00:00:00Z")


def test_edge_34_a_mistaken_submission_is_withdrawn_before_it_is_reviewed_and_its_clock_stops() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, policies(release=ReleasePolicy(reminders=(DAY,))))
    running = deal.escrow.deadlines
    decision = deal.do(WithdrawSubmission)
    assert (deal.escrow.state, deal.escrow.deadlines, decision.transactions) == (State.IN_PROGRESS, (), ())
    assert (deal.escrow.milestones[0].status, deal.escrow.milestones[0].evidence) == (MilestoneStatus.PENDING, ())
    assert [one.type for one in decision.events] == ["milestone.withdrawn"]
    for deadline in running:
        late = deal.refused(ReachDeadline, deadline=deadline.id, generation=deadline.generation)
        assert late.code == "invalid_transition"
    deal.now += 3 * DAY
    deal.do(SubmitMilestone)
    assert max(one.due_at for one in deal.escrow.deadlines) == deal.now + 14 * DAY, "a whole new window"
    assert deal.escrow.milestones[0].generation == 2


def test_edge_34_only_the_seller_withdraws_and_only_what_nobody_has_reviewed() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    assert deal.refused(WithdrawSubmission, by=BUYER).code == "forbidden"
    deal.do(RejectMilestone)
    assert deal.refused(WithdrawSubmission).code == "invalid_transition"
    assert Deal.at(State.MILESTONE_APPROVED).refused(WithdrawSubmission).code == "invalid_transition"
    assert Deal.at(State.DISPUTED).refused(WithdrawSubmission).code == "invalid_transition"


def test_edge_34_another_milestone_under_review_stays_under_review() -> None:
    deal = Deal.at(State.MILESTONE_PENDING)
    deal.do(SubmitMilestone, milestone=2)
    deal.do(WithdrawSubmission, milestone=1)
    assert deal.escrow.state == State.MILESTONE_PENDING
    assert [one.milestone for one in deal.escrow.deadlines] == [deal.escrow.milestones[1].id]
