"""Each class of answer that is not a success, and what it says about the money."""

from datetime import timedelta
from typing import Any

import pytest

from activities.gateways.port import Declined, GatewayMisconfiguredError, IdempotencyMismatchError, NotFound, Unknown
from activities.gateways.stripe import StripeGateway
from tests.gateway.sandbox_process import SandboxProcess, free_port
from tests.gateway.test_outcomes import transfer


def stripe_error(kind: str, **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": "acct_1SECRET sk_test_SECRET", **more}}


INDEFINITE: list[Any] = [
    (409, stripe_error("invalid_request_error", code="idempotency_key_in_use")),
    (409, stripe_error("idempotency_error")),
    (424, stripe_error("api_error")),
    (429, stripe_error("invalid_request_error", code="rate_limit")),
    (429, stripe_error("invalid_request_error", code="lock_timeout")),
    (400, stripe_error("invalid_request_error", code="rate_limit")),
    (500, stripe_error("api_error")),
    (502, "<html>Bad Gateway</html>"),
    (503, stripe_error("api_error")),
    (504, ""),
    (418, stripe_error("invalid_request_error")),
    (302, ""),
    (200, {}),
    (200, []),
    (200, "<html>Please log in to the hotel's network</html>"),
    (200, {"object": "transfer"}),
    (200, {"data": [], "has_more": False}),
    (400, "<html>a proxy's bad request</html>"),
    (400, {"error": "a string"}),
    (400, {"error": None}),
    (402, "<html>pay for the network first</html>"),
    (403, "<html>a firewall's no</html>"),
    (404, {"detail": "Not Found"}),
]


@pytest.mark.parametrize(("status", "body"), INDEFINITE)
def test_an_answer_that_settles_nothing_is_unknown(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, status: int, body: Any
) -> None:
    """Server errors, conflicts, limits and anything that Stripe would not say are neither success nor failure."""
    sandbox.fault("transfer", "answer", status=status, body=body)
    assert isinstance(transfer(gateway, key), Unknown)


@pytest.mark.parametrize(("status", "body"), INDEFINITE)
def test_a_look_up_without_a_proper_answer_never_says_not_found(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, status: int, body: Any
) -> None:
    """Only a proper, empty list of Stripe's means that there is nothing: a page of a proxy does not."""
    sandbox.fault("look_up", "answer", status=status, body=body)
    assert isinstance(gateway.look_up(operation="transfer", key=key), Unknown)


@pytest.mark.parametrize("body", [{"object": "list"}, {"object": "list", "data": [], "has_more": True}])
def test_an_incomplete_list_is_not_not_found(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, body: Any
) -> None:
    """A list that was cut off proves nothing about what it does not show."""
    sandbox.fault("look_up", "answer", status=200, body=body)
    assert isinstance(gateway.look_up(operation="transfer", key=key), Unknown)


@pytest.mark.parametrize("fault", ["drop_before", "drop_reply_after", "rate_limit", "error_before"])
def test_a_look_up_that_fails_is_unknown_and_may_be_asked_again(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, fault: str
) -> None:
    """A failed question changes nothing; the next one is answered."""
    sandbox.fault("look_up", fault)
    assert isinstance(gateway.look_up(operation="transfer", key=key), Unknown)
    assert gateway.look_up(operation="transfer", key=key) == NotFound()


@pytest.mark.parametrize(("said", "kept"), [(7, 7), (0, None), (86400, 300), (None, None)])
def test_how_long_stripe_asks_to_be_left_alone_is_kept(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, said: int | None, kept: int | None
) -> None:
    """The next question waits as long, within reason: a provider's word must not stop a payout for days."""
    sandbox.fault("look_up", "rate_limit", retry_after=said)
    answer = gateway.look_up(operation="transfer", key=key)
    assert isinstance(answer, Unknown)
    assert answer.retry_after == (None if kept is None else timedelta(seconds=kept))


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, stripe_error("invalid_request_error", code="balance_insufficient"), "balance_insufficient"),
        (400, stripe_error("invalid_request_error"), "invalid_request"),
        (404, stripe_error("invalid_request_error", code="resource_missing"), "resource_missing"),
        (402, stripe_error("card_error", code="card_declined", decline_code="lost_card"), "lost_card"),
        (402, stripe_error("card_error", code="card_declined"), "card_declined"),
        (400, stripe_error("invalid_request_error", code="No such key sk_test_SECRET"), "invalid_request"),
    ],
)
def test_stripes_own_refusal_is_definite(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, status: int, body: Any, code: str
) -> None:
    """A refusal in Stripe's own words is a decline with its code, and none of its text, which may name accounts."""
    sandbox.fault("transfer", "answer", status=status, body=body)
    outcome = transfer(gateway, key)
    assert isinstance(outcome, Declined)
    assert outcome.code == code
    assert "SECRET" not in repr(outcome)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, stripe_error("invalid_request_error")),
        (403, stripe_error("invalid_request_error")),
        (400, stripe_error("invalid_request_error", code="platform_api_key_expired")),
        (404, stripe_error("invalid_request_error")),
    ],
)
@pytest.mark.parametrize("operation", ["transfer", "look_up"])
def test_a_configuration_error_is_never_a_decline(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, operation: str, status: int, body: Any
) -> None:
    """A revoked key says nothing about an attempt made before it was revoked."""
    sandbox.fault(operation, "answer", status=status, body=body)
    with pytest.raises(GatewayMisconfiguredError) as raised:
        transfer(gateway, key) if operation == "transfer" else gateway.look_up(operation="transfer", key=key)
    assert "SECRET" not in repr(raised.value)


def test_a_wrong_api_key_is_a_configuration_error(sandbox: SandboxProcess, key: str) -> None:
    """A key that Stripe does not know stops us until an operator has mended it."""
    with pytest.raises(GatewayMisconfiguredError):
        transfer(sandbox.gateway(api_key="sk_test_other"), key)


def test_a_reference_that_the_account_does_not_know_is_a_configuration_error(gateway: StripeGateway, key: str) -> None:
    """Asking the wrong account must not read as "never arrived", or the money would be sent again."""
    with pytest.raises(GatewayMisconfiguredError):
        gateway.look_up(operation="transfer", key=key, reference="tr_of_another_account")


def test_a_reference_of_another_operation_is_refused(gateway: StripeGateway, key: str) -> None:
    """A look-up by reference counts only when the object carries the operation's own key."""
    other = transfer(gateway, f"{key}:other")
    with pytest.raises(IdempotencyMismatchError):
        gateway.look_up(operation="transfer", key=key, reference=getattr(other, "reference", None))


def test_no_connection_is_unknown(key: str) -> None:
    """A provider that cannot be reached has said neither yes nor no."""
    unreachable = StripeGateway(api_key="sk_test_x", api_base=f"http://127.0.0.1:{free_port()}", timeout_seconds=1)
    assert isinstance(transfer(unreachable, key), Unknown)
    assert isinstance(unreachable.look_up(operation="transfer", key=key), Unknown)
