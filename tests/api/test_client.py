"""The Python client over real HTTP: it says what went wrong, tries again under one key, reads lists to their end."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from holdfast_client import Holdfast, HoldfastError
from holdfast_client.errors import (
    ConflictError,
    ForbiddenError,
    InvalidTransitionError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentRequiredError,
    RefusedError,
    UnauthorizedError,
    UnavailableError,
)
from holdfast_client.webhooks import verified
from standardwebhooks import Webhook, WebhookVerificationError

from tests.api.service import Api, Tenant
from tests.gateway.sandbox_process import free_port
from tests.receiver import Answer, Arrived, Receiver, receiving

_CHARGE = b'{"id": "chg_1", "party": "alice", "amount": 7, "currency": "EUR", "status": "succeeded", "reason": null}'
_DONE: Answer = (201, {}, _CHARGE)
_SHORT = timedelta(seconds=1)
_PROBLEM = {"Content-Type": "application/problem+json"}


def client(url: str, key: str, time_limit: timedelta = timedelta(seconds=30)) -> Holdfast:
    """A client that goes to this machine directly."""
    return Holdfast(url, key, time_limit=time_limit, http=httpx.Client(trust_env=False, timeout=60))


def platform(tenant: Tenant) -> Holdfast:
    """The client with the tenant's test key."""
    return client(tenant.api.address, tenant.made["test_key"])


@contextmanager
def answering(*answers: Answer) -> Iterator[Receiver]:
    """A service that gives these answers in turn, and the last one for ever."""
    rest = list(answers)

    def answer(_arrived: Arrived) -> Answer:
        return rest.pop(0) if len(rest) > 1 else rest[0]

    with receiving() as receiver:
        receiver.answer = answer
        yield receiver


def top_up(url: str, time_limit: timedelta = timedelta(seconds=30), **how: str) -> str:
    """Send something that changes something; answers the id of what it made."""
    return client(url, "hf_test_1", time_limit).top_up(
        "alice", amount=7, currency="EUR", payment_method="pm_card_visa", **how
    ).id  # fmt: skip


@pytest.mark.parametrize(
    "transient",
    [
        (503, {"Retry-After": "0"}, b'{"code": "unavailable", "detail": "the database is away"}'),
        (429, {}, b'{"code": "rate_limited", "detail": "wait"}'),
        (409, {}, b'{"code": "idempotency_in_progress", "detail": "still running"}'),
        (202, {}, b'{"status": "unknown", "status_url": "/v1/commands/1"}'),
        (502, {"Content-Type": "text/html"}, b"<html>a proxy's page</html>"),
    ],
    ids=lambda answer: str(answer[0]),
)
def test_what_is_transient_is_tried_again_under_the_same_key(transient: Answer) -> None:
    with answering(transient, transient, _DONE) as service:
        assert top_up(service.url) == "chg_1"
    keys = {one.headers["Idempotency-Key"] for one in service.arrived}
    assert (len(service.arrived), len(keys)) == (3, 1)
    assert len({one.body for one in service.arrived}) == 1


def test_it_waits_for_as_long_as_it_is_told_to() -> None:
    busy: Answer = (429, {"Retry-After": "1"}, b"{}")
    with answering(busy, _DONE) as service, pytest.raises(UnavailableError):
        top_up(service.url, time_limit=timedelta(seconds=0.9))
    assert len(service.arrived) == 1


def test_one_that_is_still_being_carried_out_is_no_conflict_but_an_open_question() -> None:
    running: Answer = (409, _PROBLEM, b'{"code": "idempotency_in_progress", "detail": "still running"}')
    with answering(running) as service, pytest.raises(OutcomeUnknownError) as raised:
        top_up(service.url, time_limit=_SHORT, key="order-17")
    assert (raised.value.status, raised.value.key) == (409, "order-17")
    assert len(service.arrived) > 1


def test_every_call_has_a_key_of_its_own_unless_it_is_given_one() -> None:
    with answering(_DONE) as service:
        for _ in range(2):
            top_up(service.url)
        top_up(service.url, key="order-17")
    first, second, third = (one.headers["Idempotency-Key"] for one in service.arrived)
    assert first != second
    assert third == "order-17"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422, 500])
def test_what_is_definite_is_not_tried_again(status: int) -> None:
    problem = (
        b'{"type": "urn:holdfast:problem:x", "status": 1, "code": "conflict", "detail": "no", "request_id": "req_1"}'
    )
    with answering((status, _PROBLEM, problem)) as service, pytest.raises(HoldfastError) as raised:
        top_up(service.url, key="order-17")
    assert len(service.arrived) == 1
    assert (raised.value.status, raised.value.code, raised.value.detail) == (status, "conflict", "no")
    assert (raised.value.request_id, raised.value.key) == ("req_1", "order-17")


def test_an_outcome_that_stays_unknown_is_an_error_that_says_where_to_ask() -> None:
    unknown: Answer = (202, {}, b'{"status": "unknown", "status_url": "/v1/commands/1"}')
    with answering(unknown) as service, pytest.raises(OutcomeUnknownError) as raised:
        top_up(service.url, time_limit=_SHORT)
    assert raised.value.status_url == "/v1/commands/1"
    assert raised.value.key == service.arrived[0].headers["Idempotency-Key"]
    assert len(service.arrived) > 1


def test_a_service_that_is_not_there_is_an_error_with_the_key_to_go_on_with() -> None:
    with pytest.raises(UnavailableError) as raised:
        top_up(f"http://127.0.0.1:{free_port()}", time_limit=_SHORT, key="order-17")
    assert (raised.value.status, raised.value.code, raised.value.key) == (0, "no_answer", "order-17")


def test_an_answer_that_gets_lost_is_asked_for_again_under_the_same_key() -> None:
    """The service did it, and the connection broke before it could say so."""
    seen = []

    def lose_the_first(arrived: Arrived) -> Answer:
        seen.append(arrived.headers["Idempotency-Key"])
        return _DONE if len(seen) > 1 else (201, {"Content-Length": "999"}, b"")

    with receiving() as service:
        service.answer = lose_the_first
        assert top_up(service.url) == "chg_1"
    assert len(seen) == 2
    assert len(set(seen)) == 1


@pytest.mark.parametrize("identifier", ["", ".", ".."])
def test_what_would_lead_to_another_path_is_no_id(identifier: str) -> None:
    with pytest.raises(ValueError, match="is no id"):
        client("http://127.0.0.1:1", "hf_test_1").get_escrow(identifier)


def test_what_the_rules_refuse_is_an_exception_with_its_members(tenant: Tenant) -> None:
    market = platform(tenant)
    alice = market.acting_for("buyer:alice")
    escrow = market.create_escrow(buyer="alice", seller="bob", amount=700, currency="EUR", title="A chair")
    with pytest.raises(PaymentRequiredError) as poor:
        alice.fund_escrow(escrow.id)
    assert (poor.value.required, poor.value.available, poor.value.members["currency"]) == (700, 0, "EUR")
    assert poor.value.top_up_url
    with pytest.raises(InvalidTransitionError) as early:
        market.acting_for("seller:bob").start_work(escrow.id)
    assert (early.value.state, early.value.allowed) == ("created", escrow.allowed)
    market.amend_escrow(escrow.id, title="Two chairs", expected_version=escrow.version)
    with pytest.raises(ConflictError) as late:
        market.amend_escrow(escrow.id, title="Three chairs", expected_version=escrow.version)
    assert late.value.current_version == escrow.version + 1
    with pytest.raises(ForbiddenError):
        market.list_api_keys().page()
    with pytest.raises(NotFoundError):
        market.acting_for("buyer:mallory").get_escrow(escrow.id)
    with pytest.raises(UnauthorizedError):
        client(tenant.api.address, "hf_test_wrong").get_tenant()
    with pytest.raises(RefusedError) as wrong:
        market.put_party("bob", name="")
    assert wrong.value.members["errors"][0]["at"] == "name"


def test_a_list_is_read_to_its_end_and_by_pages(tenant: Tenant) -> None:
    market = platform(tenant)
    made = [market.put_party(f"party-{number}", name="P").id for number in range(3)]
    assert {one.id for one in market.list_parties()} == set(made)
    first = market.list_parties().page(limit=2)
    second = market.list_parties().page(limit=2, starting_after=first.data[-1].id)
    assert (first.has_more, second.has_more) == (True, False)
    assert [one.id for one in (*first.data, *second.data)] == [one.id for one in market.list_parties()]


def test_a_list_of_more_than_a_page_goes_on_after_the_last_one(tenant: Tenant) -> None:
    """Templates go by their names."""
    market = platform(tenant)
    whole = [{"title": "All", "percent": "100"}]
    for number in range(101):
        market.write_template(name=f"t-{number:03}", milestones=whole)
    names = [one.name for one in market.list_templates()]
    assert len(names) == len(set(names)) > 101


def test_a_deal_with_a_dispute_is_read_back_with_all_its_records(tenant: Tenant) -> None:
    """What the service really sends fits the models, to the audit and the reports."""
    tenant.ready()
    market = platform(tenant)
    operator = client(tenant.api.address, tenant.made["operator_test_key"])
    escrow = market.get_escrow(tenant.submitted()["id"])
    alice, bob = market.acting_for("buyer:alice"), market.acting_for("seller:bob")
    alice.approve_milestone(escrow.milestones[0].id)
    dispute = alice.raise_dispute(escrow.id, reason="late", description="It is late.", evidence=[{"name": "a"}])
    bob.add_evidence(dispute.id, statement="It is not.")
    operator.review_dispute(dispute.id)
    after = operator.resolve_dispute(dispute.id, resolution="split", details="Half and half", seller_share="0.5")
    assert after.disputes[0].answers[0].statement == "It is not."
    settled = list(market.list_settlements(escrow.id))
    assert [one.outcome for one in settled] == ["split", "release"]
    assert {one.amount for one in bob.list_payouts()} == {one.seller_payout for one in settled}
    assert next(iter(market.list_transactions(escrow.id))).entries
    assert "Half and half" in market.tell_audit(escrow.id)
    assert after.version in {one.after_version for one in market.list_audit(escrow.id)}
    assert {one.escrow for one in market.list_escrow_events(escrow.id)} == {escrow.id}
    assert market.report("liquidity", by="month").ties
    assert market.report_csv("trial-balance").count("\n") > 2
    assert market.quote_fee(amount=1000, currency="EUR").platform_fee == 100
    assert alice.get_wallets("alice")[0].locked == after.held
    assert market.get_clock().offset == timedelta(0)
    assert market.get_policy("fees").version == 1
    assert market.get_tenant().id == tenant.id


def test_a_key_is_made_rotated_and_revoked(api: Api, tenant: Tenant) -> None:
    operator = client(api.address, tenant.made["operator_test_key"])
    made = operator.create_api_key(role="platform", name="shop")
    assert made.key not in repr(made)
    rotated = operator.rotate_api_key(made.id, grace=timedelta(0))
    assert client(api.address, rotated.key).get_tenant().role == "platform"
    operator.revoke_api_key(rotated.id)
    with pytest.raises(UnauthorizedError):
        client(api.address, rotated.key).get_tenant()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: headers | {"webhook-signature": "none"},
        lambda headers: headers | {"webhook-signature": "v1,!"},
        lambda headers: headers | {"webhook-id": "evt_2"},
        lambda headers: {},
    ],
)
def test_a_post_that_nobody_signed_is_no_event(spoil: Callable[[dict[str, str]], dict[str, str]]) -> None:
    """Whatever its headers are, there is one exception for it."""
    now, secret = datetime.now(UTC), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = json.dumps(
        {
            "id": "evt_1", "type": "escrow.created", "sequence": 1, "timestamp": now.isoformat(), "tenant": "ten_1",
            "livemode": False, "escrow": "esc_1", "version": 1, "data": {}, "added": "by a newer service",
        }
    )  # fmt: skip
    signed = {
        "Webhook-Id": "evt_1",
        "Webhook-Timestamp": str(int(now.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("evt_1", now, body),
    }
    event = verified(body.encode(), signed, secret)
    assert (event.id, event.type, event.timestamp) == ("evt_1", "escrow.created", now)
    lowered = {name.lower(): value for name, value in signed.items()}
    with pytest.raises(WebhookVerificationError):
        verified(body.encode(), spoil(lowered), secret)
