"""The three outcomes of each operation, through the real adapter against the running sandbox."""

from collections.abc import Callable

import pytest

from activities.gateways.port import Declined, Gateway, NotFound, Outcome, Succeeded, Unknown
from activities.gateways.stripe import StripeGateway
from tests.gateway.sandbox_process import SandboxProcess


def charge(gateway: Gateway, key: str, payment_method: str = "pm_card_visa", amount: int = 500000) -> Outcome:
    return gateway.charge(
        key=key, party="buyer-1", payment_method=payment_method, amount=amount, currency="EUR", metadata={}
    )


def transfer(gateway: Gateway, key: str, destination: str = "acct_seller", amount: int = 135000) -> Outcome:
    return gateway.transfer(key=key, destination=destination, amount=amount, currency="EUR", metadata={})


def refund(gateway: Gateway, key: str, charge_reference: str, amount: int = 150000) -> Outcome:
    return gateway.refund(key=key, charge_reference=charge_reference, amount=amount, currency="EUR", metadata={})


def charged(gateway: Gateway, key: str) -> str:
    outcome = charge(gateway, key)
    assert isinstance(outcome, Succeeded)
    return outcome.reference


def test_a_charge_takes_exactly_the_amount(gateway: StripeGateway, sandbox: SandboxProcess, key: str) -> None:
    """A successful charge brings the whole amount onto the platform's balance, once, and can be found by its key."""
    outcome = charge(gateway, key)
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.currency) == (500000, "EUR")
    [made] = sandbox.list("charges", transfer_group=key)
    assert made["payment_intent"] == outcome.reference
    assert sandbox.moved(made["id"]) == [500000]
    assert gateway.look_up(operation="charge", key=key) == outcome


@pytest.mark.parametrize(
    ("payment_method", "code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_authenticationRequired", "authentication_required"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_gone", "resource_missing"),
    ],
)
def test_a_declined_charge_says_why(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, payment_method: str, code: str
) -> None:
    """A refused card is a definite no with the issuer's reason, moves nothing, and stays refused when looked up."""
    outcome = charge(gateway, key, payment_method)
    assert isinstance(outcome, Declined)
    assert outcome.code == code
    assert all(sandbox.moved(made["id"]) == [] for made in sandbox.list("charges", transfer_group=key))
    found = gateway.look_up(operation="charge", key=key)
    assert isinstance(found, NotFound if code == "resource_missing" else Declined)
    assert getattr(found, "code", code) == code


def test_a_charge_in_processing_is_unknown(gateway: StripeGateway, key: str) -> None:
    """A bank debit that takes days is neither paid nor failed, and its reference is already known."""
    outcome = charge(gateway, key, "pm_usBankAccount_processing")
    assert isinstance(outcome, Unknown)
    assert outcome.reference is not None
    assert gateway.look_up(operation="charge", key=key) == outcome
    assert gateway.look_up(operation="charge", key=key, reference=outcome.reference) == outcome


def test_a_charge_that_waits_for_its_customer_is_cancelled_before_it_counts_as_declined(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str
) -> None:
    """An intent that the customer could still complete is closed at the provider, so declined means declined."""
    sandbox.fault("charge", "requires_action")
    outcome = charge(gateway, key)
    assert isinstance(outcome, Declined)
    assert sandbox.get(f"/v1/payment_intents/{outcome.reference}").json()["status"] == "canceled"


def test_a_charge_whose_cancellation_got_lost_is_unknown(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str
) -> None:
    """As long as the provider has not confirmed the cancellation, the customer may still pay."""
    sandbox.fault("charge", "requires_action")
    sandbox.fault("cancel", "drop_before")
    outcome = charge(gateway, key)
    assert isinstance(outcome, Unknown)
    assert isinstance(charge(gateway, key), Declined)


@pytest.mark.parametrize("status", ["processing", "succeeded", "requires_action"])
def test_a_charge_that_went_on_instead_of_being_cancelled_is_unknown(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, status: str
) -> None:
    """Only "canceled" closes an intent; any other state is read by the next look-up, never guessed."""
    sandbox.fault("charge", "requires_action")
    sandbox.fault("cancel", "answer", status=200, body={"id": "pi_1", "object": "payment_intent", "status": status})
    assert isinstance(charge(gateway, key), Unknown)


def test_a_charge_that_can_no_longer_be_cancelled_is_unknown(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str
) -> None:
    """A refused cancellation means that the intent has moved on, perhaps to success."""
    sandbox.fault("charge", "requires_action")
    error = {"error": {"type": "invalid_request_error", "code": "payment_intent_unexpected_state", "message": ""}}
    sandbox.fault("cancel", "answer", status=400, body=error)
    outcome = charge(gateway, key)
    assert isinstance(outcome, Unknown)
    assert outcome.reference is not None


def test_a_transfer_sends_exactly_the_amount(gateway: StripeGateway, sandbox: SandboxProcess, key: str) -> None:
    """A successful transfer takes the whole amount from the platform's balance, once, and can be found by its key."""
    outcome = transfer(gateway, key)
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.currency) == (135000, "EUR")
    assert sandbox.moved(outcome.reference) == [-135000]
    assert gateway.look_up(operation="transfer", key=key) == outcome
    assert gateway.look_up(operation="transfer", key=key, reference=outcome.reference) == outcome


@pytest.mark.parametrize(
    ("destination", "code"),
    [
        ("acct_closed_1", "account_closed"),
        ("acct_declined_1", "insufficient_capabilities_for_transfer"),
        ("acct_missing_1", "resource_missing"),
        ("DE89370400440532013000", "resource_missing"),
    ],
)
def test_a_transfer_to_a_bad_destination_is_declined(
    gateway: StripeGateway, key: str, destination: str, code: str
) -> None:
    """A closed, restricted or unknown account is a definite no, and the message does not repeat the account."""
    outcome = transfer(gateway, key, destination)
    assert isinstance(outcome, Declined)
    assert outcome.code == code
    assert destination not in outcome.message
    assert gateway.look_up(operation="transfer", key=key) == NotFound()


def test_a_transfer_beyond_the_platforms_balance_is_declined(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str
) -> None:
    """Too little money at the provider is a definite no with the provider's code."""
    sandbox.fault("transfer", "decline")
    outcome = transfer(gateway, key)
    assert isinstance(outcome, Declined)
    assert outcome.code == "balance_insufficient"


def test_a_refund_gives_back_part_and_then_the_rest(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, new_key: Callable[[], str]
) -> None:
    """Two refunds of one charge are two operations, each found by its own key, and together never more than it."""
    paid = charged(gateway, key)
    first, second, third = new_key(), new_key(), new_key()
    part = refund(gateway, first, paid, 150000)
    rest = refund(gateway, second, paid, 350000)
    assert isinstance(part, Succeeded)
    assert isinstance(rest, Succeeded)
    assert sandbox.moved(part.reference) == [-150000]
    assert gateway.look_up(operation="refund", key=first, charge_reference=paid) == part
    assert gateway.look_up(operation="refund", key=second, charge_reference=paid) == rest
    assert gateway.look_up(operation="refund", key=second, charge_reference=paid, reference=rest.reference) == rest
    more = refund(gateway, third, paid, 1)
    assert isinstance(more, Declined)
    assert more.code == "charge_already_refunded"
    assert gateway.look_up(operation="refund", key=third, charge_reference=paid) == NotFound()


def test_a_pending_refund_is_unknown(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, new_key: Callable[[], str]
) -> None:
    """A refund that a bank has not confirmed is neither done nor failed."""
    paid, again = charged(gateway, key), new_key()
    sandbox.fault("refund", "pending")
    outcome = refund(gateway, again, paid)
    assert isinstance(outcome, Unknown)
    assert gateway.look_up(operation="refund", key=again, charge_reference=paid) == outcome


@pytest.mark.parametrize("operation", ["charge", "refund", "transfer"])
def test_a_lost_reply_is_unknown_and_the_look_up_finds_what_was_done(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, new_key: Callable[[], str], operation: str
) -> None:
    """Work that was done but not answered is unknown, then succeeded by look-up, and was done once."""
    paid, again = charged(gateway, key), new_key()
    sandbox.fault(operation, "drop_reply_after")
    match operation:
        case "charge":
            sent, found = charge(gateway, again), gateway.look_up(operation="charge", key=again)
        case "refund":
            sent = refund(gateway, again, paid)
            found = gateway.look_up(operation="refund", key=again, charge_reference=paid)
        case _:
            sent, found = transfer(gateway, again), gateway.look_up(operation="transfer", key=again)
    assert isinstance(sent, Unknown)
    assert isinstance(found, Succeeded)
    assert [line["reference"] for line in sandbox.journal(again) if line["executed"]] == [found.reference]
