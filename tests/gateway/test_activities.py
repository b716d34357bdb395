"""The gateway activities: plain answers, guarded by time, and errors only where a person must act."""

import asyncio
import logging
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


def run(activity: Any, request: Any) -> GatewayResult:
    result = ActivityEnvironment().run(activity, request)
    assert isinstance(result, GatewayResult)
    return result


def test_every_activity_answers_with_plain_data(sandbox: SandboxProcess, key: str) -> None:
    """Charge, refund, transfer and look-up answer with the provider's reference and the money it stated."""
    gateway = activities(sandbox)
    charge = ChargeRequest(
        key=f"{key}:c", amount=500, currency="EUR", party="b", payment_method="pm_card_visa", first_sent_at=NOW
    )
    paid = run(gateway.charge, charge)
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


@pytest.mark.parametrize("later", [timedelta(hours=23), timedelta(days=30)])
def test_past_the_providers_memory_it_is_asked_before_anything_is_sent(
    sandbox: SandboxProcess, key: str, later: timedelta
) -> None:
    """Edge case 11: when the provider has forgotten the key, what was sent long ago is found and not sent again."""
    sandbox.fault("transfer", "drop_reply_after")
    assert run(activities(sandbox).transfer, a_transfer(key)).status == "unknown"
    sandbox.forget_keys()
    assert run(activities(sandbox, later).transfer, a_transfer(key)).status == "succeeded"
    assert len(sandbox.transfers(key)) == 1


def test_past_the_providers_memory_what_never_arrived_is_sent(sandbox: SandboxProcess, key: str) -> None:
    """Nothing was found, so it is sent now, under the same key."""
    result = run(activities(sandbox, timedelta(days=2)).transfer, a_transfer(key))
    assert result.status == "succeeded"


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
