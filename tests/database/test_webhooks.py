"""Webhooks: every event numbered once, posted signed and at least once, and whose endpoint fails holds back nobody."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks import WebhookVerificationError

from ledger import events, posting, webhooks
from ledger.keyring import Keyring
from ledger.posting import KEPT_FOR, Failure
from models.commands import ApproveMilestone, Fund
from models.errors import ErrorCode, RefusedError
from models.states import State
from models.webhooks import GIVE_UP_AFTER, GIVE_UP_FAILURES, SCHEDULE
from tests.database.webhook_towns import (
    Town,
    code,
    deliveries,
    endpoint,
    make_due,
    number,
    post_all,
    postman,
    queue,
    register,
    rests,
)
from tests.receiver import Receiver
from tests.telling import run

FUNDED = ["escrow.created", "escrow.funded"]


def test_an_event_arrives_signed_as_the_standards_library_expects(town: Town, receiver: Receiver) -> None:
    """The body is what the API shows; another secret, or one byte changed, does not verify."""
    made = register(town, f"{receiver.url}/hooks?shop=1")
    escrow = town.at(State.FUNDED)
    post_all(town)
    first, second = receiver.at("/hooks?shop=1")
    event = second.verified(made.secret)
    assert event == events.event(town.api, town.tenant, second.headers["webhook-id"]).document()
    assert event | {"id": "", "timestamp": ""} == {
        "id": "", "timestamp": "", "type": "escrow.funded", "sequence": 2, "tenant": town.tenant, "livemode": False,
        "escrow": escrow.id, "version": 2, "data": {"amount": 500000, "source": "wallet"},
    }  # fmt: skip
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["User-Agent"].startswith("Holdfast")
    with pytest.raises(WebhookVerificationError):
        second.verified("whsec_" + "A" * 43 + "=")
    with pytest.raises(WebhookVerificationError):
        replace(second, body=second.body.replace(b"500000", b"500001")).verified(made.secret)
    assert [(one.status, one.attempts, one.last_status) for one in deliveries(town, made)] == [
        ("delivered", 1, 204)
    ] * 2


def test_every_event_of_a_tenant_has_a_number_without_gaps_whoever_numbers(
    town: Town, towns: Callable[[], Town], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several at once give each event one number, in the order of each escrow; another tenant has its own."""
    other = towns()
    monkeypatch.setattr(posting, "NUMBERED_AT_ONCE", 2)
    over = threading.Event()

    def keep_numbering() -> None:
        while not over.is_set():
            queue(town).number()

    with ThreadPoolExecutor(8) as pool:
        numbering = [pool.submit(keep_numbering) for _ in range(4)]
        escrows = list(pool.map(lambda _: town.at(State.MILESTONE_APPROVED), range(6)))
        stranger = other.at(State.FUNDED)
        over.set()
        assert all(one.result() is None for one in numbering)
    number(town)
    feed = events.events(town.api, town.tenant, 1000)
    assert [one.sequence for one in feed] == list(range(len(feed), 0, -1))
    for escrow in escrows:
        assert [one.type for one in feed if one.escrow == escrow.id][::-1] == town.events(escrow)
    assert [one.sequence for one in events.events(other.api, other.tenant, 10, escrow=stranger.id)] == [2, 1]


def test_the_feed_is_read_page_by_page_by_type_and_by_escrow(town: Town) -> None:
    """Newest first; a page begins after the event that is named, which has to be there."""
    first, second = town.at(State.FUNDED), town.at(State.CREATED)
    number(town)

    def feed(limit: int = 10, **said: str) -> list[tuple[str, str | None]]:
        return [(one.type, one.escrow) for one in events.events(town.api, town.tenant, limit, **said)]

    whole = [("escrow.created", second.id), ("escrow.funded", first.id), ("escrow.created", first.id)]
    assert feed() == whole
    newest = events.events(town.api, town.tenant, 1)[0]
    assert feed(2, starting_after=newest.id) == whole[1:]
    assert feed(type="escrow.created") == [whole[0], whole[2]]
    assert feed(escrow=first.id) == whole[1:]
    with pytest.raises(RefusedError) as refused:
        feed(starting_after="evt_x")
    assert code(refused) == ErrorCode.NOT_FOUND


def test_an_endpoint_gets_the_types_that_it_asked_for_from_then_on(town: Town, receiver: Receiver) -> None:
    """A pattern has its whole family; what happened before is not posted."""
    town.at(State.FUNDED)
    register(town, f"{receiver.url}/all")
    register(town, f"{receiver.url}/some", "milestone.*", "escrow.started")
    town.at(State.MILESTONE_APPROVED)
    post_all(town)
    assert receiver.types("/all")[:2] == FUNDED
    assert receiver.types("/some") == ["escrow.started", "milestone.submitted", "milestone.approved"]


def test_what_people_wrote_and_why_somebody_is_blocked_stays_in_the_house(town: Town, receiver: Receiver) -> None:
    """A reason is in the event and not in the webhook."""
    made = register(town, receiver.url)
    escrow = town.at(State.MILESTONE_PENDING)
    run(
        town.engine,
        """INSERT INTO event (id, tenant_id, escrow_id, version, position, type, data, occurred_at)
           VALUES (:id, :tenant, :escrow, 99, 0, 'payout.held', CAST(:data AS json), now())""",
        id=f"evt_{town.tenant}", tenant=town.tenant, escrow=escrow.id,
        data='{"payout": "pay_1", "amount": 5, "hold": "blocked", "reason": "SUSPICION", "note": "SECRET"}',
    )  # fmt: skip
    post_all(town)
    assert receiver.arrived[-1].verified(made.secret)["data"] == {"payout": "pay_1", "amount": 5, "hold": "blocked"}


def test_a_failed_delivery_is_tried_again_on_the_standards_schedule_and_then_given_up(
    town: Town, receiver: Receiver
) -> None:
    """Each wait is that of the schedule and at most a tenth more; after the last attempt it has failed, and why."""
    made = register(town, receiver.url)
    receiver.answer = (500, {}, b"no")
    town.create()
    waits = []
    for _ in SCHEDULE:
        post_all(town)
        only = deliveries(town, made)[0]
        if only.next_attempt_at is not None:
            assert only.last_attempt_at is not None
            waits.append(only.next_attempt_at - only.last_attempt_at)
        make_due(town)
    for wait, planned in zip(waits, SCHEDULE[1:], strict=True):
        assert planned <= wait <= planned * 1.1
    assert (only.status, only.attempts, only.last_status) == ("failed", len(SCHEDULE), 500)
    assert only.last_error == "it answered with HTTP status 500"
    post_all(town)
    assert len(receiver.arrived) == len(SCHEDULE)
    assert len({(one.headers["webhook-id"], one.body) for one in receiver.arrived}) == 1


@pytest.mark.parametrize(
    ("status", "header", "least", "most"),
    [
        (503, "120", 120, 132),
        (429, "in ten minutes", 500, 670),
        (429, "1", 5, 6),
        (503, "99999999999", 86400, 95040),
        (503, "soon", 5, 6),
        (500, "120", 5, 6),
    ],
)
def test_a_receiver_that_asks_for_time_gets_it_within_bounds(
    town: Town, receiver: Receiver, status: int, header: str, least: int, most: int
) -> None:
    """Retry-After of a 429 or 503 counts if it is longer than the schedule, up to a day; also for all that waits."""
    made = register(town, receiver.url)
    at = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    receiver.answer = (status, {"Retry-After": at if header == "in ten minutes" else header}, b"")
    town.at(State.FUNDED)
    number(town)
    postman(town).post_next()
    first = deliveries(town, made)[0]
    assert first.next_attempt_at is not None
    assert first.last_attempt_at is not None
    assert least <= (first.next_attempt_at - first.last_attempt_at).total_seconds() <= most
    assert postman(town).post_next() == (status == 500 or header == "soon")


def test_a_receiver_that_is_gone_is_disabled_at_once_and_its_owner_told(town: Town, receiver: Receiver) -> None:
    """410 is the last word: what waits has failed, the tenant's other endpoint learns of it, the feed has it."""
    gone, other = register(town, f"{receiver.url}/gone"), register(town, f"{receiver.url}/other", "webhook_endpoint.*")
    receiver.answer = lambda arrived: (410 if arrived.path == "/gone" else 200, {}, b"")
    town.at(State.FUNDED)
    post_all(town)
    post_all(town)
    assert receiver.types("/gone") == ["escrow.created"]
    assert (endpoint(town, gone).status, endpoint(town, gone).disabled_because) == ("disabled", "gone")
    assert [one.status for one in deliveries(town, gone)] == ["failed", "failed"]
    told = receiver.at("/other")[0].verified(other.secret)
    assert told["data"] == {"endpoint": gone.endpoint.id, "code": "gone"}
    assert (told["type"], told["escrow"], told["version"]) == ("webhook_endpoint.disabled", None, None)
    assert events.events(town.api, town.tenant, 1)[0].id == told["id"]


def test_an_endpoint_that_failed_every_time_for_five_days_is_disabled(town: Town, receiver: Receiver) -> None:
    """Not before, not for few attempts, and one success begins anew; enabled again it has what happens from then on."""
    made = register(town, receiver.url)
    receiver.answer = (500, {}, b"")
    days = "UPDATE webhook_endpoint SET failing_since = now() - CAST(:ago AS interval) WHERE id = :id"

    def fail(times: int, ago: timedelta) -> str:
        for _ in range(times):
            town.create()
            number(town)
            if endpoint(town, made).failing_since:
                run(town.engine, days, ago=ago, id=made.endpoint.id)
            rests(town)
            assert postman(town).post_next()
        return endpoint(town, made).status

    assert fail(GIVE_UP_FAILURES - 1, GIVE_UP_AFTER * 2) == "enabled"
    receiver.answer = (200, {}, b"")
    make_due(town)
    post_all(town)
    assert endpoint(town, made).failing_since is None
    receiver.answer = (500, {}, b"")
    assert fail(GIVE_UP_FAILURES + 3, GIVE_UP_AFTER - timedelta(minutes=5)) == "enabled"
    assert fail(1, GIVE_UP_AFTER) == "disabled"
    assert endpoint(town, made).disabled_because == "failing"
    missed = town.create()
    post_all(town)
    receiver.answer = (200, {}, b"")
    receiver.arrived.clear()
    assert webhooks.enable_endpoint(town.api, town.tenant, made.endpoint.id).status == "enabled"
    escrow = town.create()
    post_all(town)
    assert [one.event["escrow"] for one in receiver.arrived] == [escrow.id]
    again = events.events(town.api, town.tenant, 1, escrow=missed.id)[0]
    webhooks.redeliver(town.api, town.tenant, again.id)
    post_all(town)
    assert [one.event["escrow"] for one in receiver.arrived] == [escrow.id, missed.id]


def test_a_dead_mail_server_holds_back_no_webhook(town: Town, receiver: Receiver) -> None:
    """An escrow whose news wait in the outbox is told to its platform all the same."""
    register(town, receiver.url)
    escrow = town.create()
    run(
        town.engine, "UPDATE outbox SET next_attempt_at = now() + interval '1 hour' WHERE tenant_id = :t", t=town.tenant
    )
    town.do(Fund, escrow)
    post_all(town)
    assert receiver.types() == FUNDED


def test_who_dies_in_a_call_leaves_it_to_others_and_cannot_record_it_twice(town: Town, receiver: Receiver) -> None:
    """Once the lease has run out it is posted again; what the late one records changes nothing any more."""
    made = register(town, receiver.url)
    town.create()
    number(town)
    late = queue(town).claim()
    assert late is not None
    assert queue(town).claim() is None
    run(town.engine, "UPDATE webhook_endpoint SET leased_until = now() WHERE id = :id", id=made.endpoint.id)
    post_all(town)
    assert deliveries(town, made)[0].status == "delivered"
    queue(town).failed(late, Failure("too late"), 0)
    assert (deliveries(town, made)[0].status, deliveries(town, made)[0].attempts) == ("delivered", 1)


def test_without_the_key_of_its_secret_an_endpoint_waits_and_is_not_blamed(town: Town, receiver: Receiver) -> None:
    """A keyring that lacks a key is our mistake: nothing is posted unsigned, no attempt is counted."""
    made = register(town, receiver.url)
    town.create()
    post_all(town, postman(town, Keyring({"other": bytes(32)})))
    assert receiver.arrived == []
    assert deliveries(town, made)[0].attempts == 0
    assert endpoint(town, made).failing_since is None
    rests(town)
    post_all(town)
    assert len(receiver.arrived) == 1


def test_what_was_over_30_days_ago_is_deleted(town: Town, receiver: Receiver) -> None:
    """What is younger stays, and what waits."""
    made = register(town, receiver.url)
    for _ in range(3):
        town.create()
    number(town)
    for _ in range(2):
        postman(town).post_next()
    age = "UPDATE webhook_delivery SET finished_at = now() - CAST(:age AS interval) WHERE id = :id"
    first, second, third = deliveries(town, made)
    assert third.status == "pending"
    run(town.engine, age, age=KEPT_FOR + timedelta(minutes=1), id=first.id)
    run(town.engine, age, age=KEPT_FOR - timedelta(minutes=1), id=second.id)
    while queue(town).purge():
        pass
    assert [one.id for one in deliveries(town, made)] == [second.id, third.id]


def test_a_failure_in_one_tenant_s_release_is_posted_like_any_event(town: Town, receiver: Receiver) -> None:
    """Refusals are events too."""
    register(town, receiver.url, "command.refused")
    escrow = town.create()
    town.refused(ApproveMilestone, escrow)
    post_all(town)
    assert receiver.arrived[0].event["data"]["code"] == "invalid_transition"
