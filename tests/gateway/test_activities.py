"""The gateway activities: plain answers, guarded by time, and errors only where a person must act."""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.gateway import GatewayActivities
from models.gateway import ChargeRequest, GatewayResult, LookUpRequest, RefundRequest, TransferRequest
from tests.gateway.sandbox_process import SandboxProcess

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def activities(sandbox: SandboxProcess, later: timedelta = timedelta(0), **options: Any) -> GatewayActivities:
    return GatewayActivities(sandbox.gateway(**options), now=lambda: NOW + later)


def a_transfer(key: str, amount: int = 135000, destination: str = "acct_seller") -> TransferRequest:
    return TransferRequest(key=key, amount=amount, currency="EUR", destination=destination, first_sent_at=NOW)


def a_charge(key: str) -> ChargeRequest:
    return ChargeRequest(
        key=key, amount=500, currency="EUR", party="b", payment_method="pm_card_visa", first_sent_at=NOW
    )


def run(activity: Any, request: Any, handed_out: timedelta = timedelta(0), attempt: int = 1) -> GatewayResult:
    """Run an activity as Temporal does that handed it out then by its own clock."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, started_time=NOW + handed_out, attempt=attempt)
    result = environment.run(activity, request)
    assert isinstance(result, GatewayResult)
    return result


def test_every_activity_answers_with_plain_data(sandbox: SandboxProcess, key: str) -> None:
    """Charge, refund, transfer and look-up answer with the provider's reference and the money it stated."""
    gateway = activities(sandbox)
    paid = run(gateway.charge, a_charge(f"{key}:c"))
    assert (paid.status, paid.amount, paid.currency) == ("succeeded", 500, "EUR")
    assert paid.reference is not None
    back = RefundRequest(key=f"{key}:r", amount=200, currency="EUR", charge_reference=paid.reference, first_sent_at=NOW)
    refunded = run(gateway.refund, back)
    assert refunded.status == "succeeded"
    question = LookUpRequest(
        operation="refund", key=f"{key}:r", amount=200, currency="EUR", charge_reference=paid.reference
    )
    assert run(gateway.look_up, question) == refunded
    assert run(gateway.transfer, a_transfer(f"{key}:t")).status == "succeeded"


def test_unknown_is_an_answer_and_not_an_error(sandbox: SandboxProcess, key: str) -> None:
    """Nothing that leaves the outcome open is raised, since a raised payout would be paid back."""
    gateway = activities(sandbox)
    sandbox.fault("transfer", "drop_reply_after")
    assert run(gateway.transfer, a_transfer(key)).status == "unknown"
    question = LookUpRequest(operation="transfer", key=key, amount=135000, currency="EUR")
    assert run(gateway.look_up, question).status == "succeeded"


def test_finding_out_is_retried_until_the_answer_is_definite(sandbox: SandboxProcess, key: str) -> None:
    """A question without an answer is asked again by the engine; with one, it ends with that answer."""
    gateway = activities(sandbox)
    question = LookUpRequest(operation="transfer", key=key, amount=135000, currency="EUR")
    assert run(gateway.find_out, question).status == "not_found"
    sent = run(gateway.transfer, a_transfer(key))
    sandbox.fault("look_up", "drop_reply_after")
    with pytest.raises(ApplicationError) as raised:
        run(gateway.find_out, question)
    assert (raised.value.type, raised.value.non_retryable) == ("OutcomeUnknown", False)
    assert run(gateway.find_out, question) == sent


def test_declined_and_not_found_are_answers(sandbox: SandboxProcess, key: str) -> None:
    """A definite no carries its code; nothing under the key is an answer of its own."""
    gateway = activities(sandbox)
    declined = run(gateway.transfer, a_transfer(key, destination="acct_closed_1"))
    assert (declined.status, declined.code) == ("declined", "account_closed")
    assert "acct_" not in str(declined.message)
    question = LookUpRequest(operation="transfer", key=key, amount=135000, currency="EUR")
    assert run(gateway.look_up, question) == GatewayResult(status="not_found")


# How long after its first sending, which the books' clock tells, it is sent again by the worker's clock and by
# Temporal's. The provider has forgotten the key; unless said otherwise it is 24 h 30 min later.
FORGOTTEN: dict[str, tuple[timedelta, timedelta]] = {
    "forgets-within-the-hour": (timedelta(minutes=10), timedelta(minutes=10)),
    "a-month-later": (timedelta(days=30), timedelta(days=30)),
    "worker-2h-behind": (timedelta(hours=22, minutes=30), timedelta(hours=24, minutes=30)),
    "temporal-2h-behind": (timedelta(hours=24, minutes=30), timedelta(hours=22, minutes=30)),
    "books-2h-ahead": (timedelta(hours=22, minutes=30), timedelta(hours=22, minutes=30)),
    "books-3-days-ahead": (timedelta(days=-2), timedelta(days=-2)),
    "worker-a-day-behind": (timedelta(0), timedelta(hours=24, minutes=30)),
    "temporal-a-day-behind": (timedelta(hours=24, minutes=30), timedelta(0)),
}


@pytest.mark.parametrize(("worker", "temporal"), FORGOTTEN.values(), ids=FORGOTTEN.keys())
def test_past_the_providers_memory_it_is_asked_before_anything_is_sent(
    sandbox: SandboxProcess, key: str, worker: timedelta, temporal: timedelta
) -> None:
    """Edge case 11: what was sent long ago, by whichever clock, is found and not sent again."""
    sandbox.fault("transfer", "drop_reply_after")
    assert run(activities(sandbox).transfer, a_transfer(key)).status == "unknown"
    sandbox.forget_keys()
    assert run(activities(sandbox, worker).transfer, a_transfer(key), temporal).status == "succeeded"
    assert len(sandbox.transfers(key)) == 1


def test_a_later_attempt_asks_first_so_that_a_provider_without_a_memory_pays_once(
    sandbox: SandboxProcess, key: str
) -> None:
    """The worker died between the provider's work and our record, and the provider forgot the key at once."""
    sandbox.plan(forget_keys_after_seconds=0)
    assert run(activities(sandbox).transfer, a_transfer(key)).status == "succeeded"
    assert run(activities(sandbox).transfer, a_transfer(key), attempt=2).status == "succeeded"
    sandbox.plan()
    assert len(sandbox.transfers(key)) == 1


def test_a_first_sending_asks_nothing(sandbox: SandboxProcess, key: str) -> None:
    """One request for one payout: clocks may differ by minutes."""
    seen = len(sandbox.get("/sandbox/journal", operation="look_up").json())
    few = timedelta(minutes=9)
    assert run(activities(sandbox, few).transfer, a_transfer(key), -few).status == "succeeded"
    assert len(sandbox.get("/sandbox/journal", operation="look_up").json()) == seen


def test_past_the_providers_memory_what_never_arrived_is_sent(sandbox: SandboxProcess, key: str) -> None:
    """Nothing was found, so it is sent now, under the same key: a payout is owed, however late it is."""
    later = timedelta(days=2)
    assert run(activities(sandbox, later).transfer, a_transfer(key), later).status == "succeeded"


DAY, HOUR = timedelta(days=1), timedelta(hours=1)
# How long ago a charge was wanted by the worker's clock and by Temporal's; what it comes to if it never arrived.
LATE: dict[str, tuple[timedelta, timedelta, tuple[str, str | None]]] = {
    "23h-later-it-is-sent": (DAY - HOUR, DAY - HOUR, ("succeeded", None)),
    "a-day-later-what-was-just-sent-may-arrive": (DAY, DAY, ("unknown", None)),
    "25h-by-temporals-clock-alone": (DAY - HOUR, DAY + HOUR, ("unknown", None)),
    "9-days-by-the-workers-clock-alone": (9 * DAY, timedelta(0), ("unknown", None)),
    "25h-later-it-is-over": (DAY + HOUR, DAY + HOUR, ("declined", "expired")),
    "days-later-too": (9 * DAY, 9 * DAY, ("declined", "expired")),
}


@pytest.mark.parametrize(("worker", "temporal", "expected"), LATE.values(), ids=LATE.keys())
def test_a_card_is_not_charged_for_the_first_time_days_later(
    sandbox: SandboxProcess, key: str, worker: timedelta, temporal: timedelta, expected: tuple[str, str | None]
) -> None:
    """Nobody's money is taken out of the blue, and it is not called declined while an attempt may be on its way."""
    result = run(activities(sandbox, worker).charge, a_charge(key), temporal)
    assert (result.status, result.code) == expected
    assert len(sandbox.list("charges", transfer_group=key)) == (result.status == "succeeded")


def test_a_charge_that_did_arrive_is_found_days_later(sandbox: SandboxProcess, key: str) -> None:
    """It is not called expired: the money was taken."""
    sandbox.fault("charge", "drop_reply_after")
    assert run(activities(sandbox).charge, a_charge(key)).status == "unknown"
    sandbox.forget_keys()
    found = run(activities(sandbox, 9 * DAY).charge, a_charge(key), 9 * DAY)
    assert (found.status, len(sandbox.list("charges", transfer_group=key))) == ("succeeded", 1)


def test_past_the_providers_memory_no_answer_means_nothing_is_sent(sandbox: SandboxProcess, key: str) -> None:
    """As long as the look-up has no answer, the old attempt may have worked."""
    sandbox.fault("look_up", "error_before")
    assert run(activities(sandbox, timedelta(days=2)).transfer, a_transfer(key)).status == "unknown"
    assert sandbox.journal(key) == []


def test_another_amount_under_a_known_key_stops_for_a_person(sandbox: SandboxProcess, key: str) -> None:
    """A mismatch is never retried and never taken for success, in the provider's memory or after it."""
    run(activities(sandbox).transfer, a_transfer(key))
    calls: list[tuple[Any, Any]] = [
        (activities(sandbox).transfer, a_transfer(key, amount=1)),
        (activities(sandbox, timedelta(days=2)).transfer, a_transfer(key, amount=1)),
        (activities(sandbox).look_up, LookUpRequest(operation="transfer", key=key, amount=1, currency="EUR")),
        (activities(sandbox).look_up, LookUpRequest(operation="transfer", key=key, amount=135000, currency="USD")),
    ]
    for activity, request in calls:
        with pytest.raises(ApplicationError) as raised:
            run(activity, request)
        assert (raised.value.type, raised.value.non_retryable) == ("IdempotencyMismatch", True)


def test_misconfiguration_is_retried_and_tells_no_secret(sandbox: SandboxProcess, key: str) -> None:
    """A wrong API key is an error that can be mended: retryable, without the key, without the provider's words."""
    gateway = activities(sandbox, api_key="sk_test_wrong_SECRET")
    with pytest.raises(ApplicationError) as raised:
        run(gateway.transfer, a_transfer(key))
    assert (raised.value.type, raised.value.non_retryable) == ("GatewayMisconfigured", False)
    assert raised.value.__cause__ is None
    assert "SECRET" not in str(raised.value)


def test_no_log_level_shows_accounts_or_answers(
    sandbox: SandboxProcess, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Even with everything logged, the provider's requests and answers stay out of our logs."""
    caplog.set_level(logging.DEBUG)
    run(activities(sandbox).transfer, a_transfer(key, destination="acct_closed_SECRET"))
    run(activities(sandbox).transfer, a_transfer(f"{key}:2", destination="acct_SECRET"))
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    "document",
    [
        a_transfer("pay_1:1"),
        LookUpRequest(operation="charge", key="chg_1:1", amount=1, currency="JPY"),
        GatewayResult(status="unknown", message="no_answer", retry_after_seconds=5),
    ],
)
def test_requests_and_results_survive_a_workflow_history(document: Any) -> None:
    """What a history stores is read back as the same strict, frozen value."""

    async def there_and_back() -> Any:
        [payload] = await pydantic_data_converter.encode([document])
        [decoded] = await pydantic_data_converter.decode([payload], [type(document)])
        return decoded

    assert asyncio.run(there_and_back()) == document


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": 0},
        {"amount": 1.0},
        {"amount": "1"},
        {"currency": "XXX"},
        {"key": "a b"},
        {"key": "x" * 201},
        {"more": 1},
    ],
)
def test_a_malformed_request_is_refused(wrong: dict[str, Any]) -> None:
    """Amounts are positive integers, keys are printable and bounded, and no field is guessed."""
    with pytest.raises(ValueError, match="validation error"):
        TransferRequest.model_validate(a_transfer("pay_1:1").model_dump() | wrong)
