"""One key, one operation: whatever is repeated, lost, delayed or raced."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from activities.gateways.port import Declined, IdempotencyMismatchError, NotFound, Outcome, Succeeded, Unknown
from activities.gateways.stripe import StripeGateway
from tests.gateway.sandbox_process import SandboxProcess, eventually
from tests.gateway.test_outcomes import charge, charged, refund, transfer


def test_a_repeated_transfer_is_one_transfer(gateway: StripeGateway, sandbox: SandboxProcess, key: str) -> None:
    """The same call again answers with the first transfer and sends nothing."""
    first = transfer(gateway, key)
    assert isinstance(first, Succeeded)
    assert transfer(gateway, key) == first
    assert transfer(sandbox.gateway(), key) == first
    assert [made["id"] for made in sandbox.transfers(key)] == [first.reference]
    assert [line["replayed"] for line in sandbox.journal(key)] == [False, True, True]


def test_a_repeated_charge_or_refund_is_one(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, new_key: Callable[[], str]
) -> None:
    """A buyer is charged once and refunded once per key, and a decline stays a decline."""
    paid, back, refused = charge(gateway, key), new_key(), new_key()
    assert isinstance(paid, Succeeded)
    assert charge(gateway, key) == paid
    first = refund(gateway, back, paid.reference)
    assert isinstance(first, Succeeded)
    assert refund(gateway, back, paid.reference) == first
    assert sandbox.moved(first.reference) == [-150000]
    declines = [charge(gateway, refused, "pm_card_chargeDeclined") for _ in range(2)]
    assert all(isinstance(decline, Declined) for decline in declines)
    assert len(sandbox.list("charges", transfer_group=refused)) == 1


def test_a_key_with_another_amount_is_refused(gateway: StripeGateway, sandbox: SandboxProcess, key: str) -> None:
    """One key for two amounts is an error of ours that stops everything; the first transfer stays as it was."""
    assert isinstance(transfer(gateway, key, amount=135000), Succeeded)
    with pytest.raises(IdempotencyMismatchError):
        transfer(gateway, key, amount=135001)
    assert [made["amount"] for made in sandbox.transfers(key)] == [135000]


def test_a_key_of_another_operation_is_refused(gateway: StripeGateway, key: str) -> None:
    """A transfer cannot use the key of a charge."""
    charged(gateway, key)
    with pytest.raises(IdempotencyMismatchError):
        transfer(gateway, key)


def test_twenty_identical_transfers_at_once_are_one(sandbox: SandboxProcess, key: str) -> None:
    """Of simultaneous attempts one works; the others see its result or "not known yet", never a second transfer."""
    gateway, start = sandbox.gateway(), Barrier(20)
    sandbox.fault("transfer", "delay", seconds=0.3)

    def attempt(_: int) -> Outcome:
        start.wait()
        return transfer(gateway, key)

    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(attempt, range(20)))
    [made] = sandbox.transfers(key)
    references = {outcome.reference for outcome in outcomes if isinstance(outcome, Succeeded)}
    assert references == {made["id"]}
    assert all(isinstance(outcome, Succeeded | Unknown) for outcome in outcomes)
    assert 409 in [line["status"] for line in sandbox.journal(key)]
    assert sandbox.moved(made["id"]) == [-135000]


def test_an_attempt_that_is_still_on_its_way_is_not_found_and_then_found(sandbox: SandboxProcess, key: str) -> None:
    """After a timeout "not found" is no failure: the attempt arrives late, and sending again is still one transfer."""
    sandbox.fault("transfer", "delay", seconds=0.8)
    hasty, patient = sandbox.gateway(timeout_seconds=0.3), sandbox.gateway()
    assert isinstance(transfer(hasty, key), Unknown)
    assert patient.look_up(operation="transfer", key=key) == NotFound()
    eventually(lambda: isinstance(transfer(patient, key), Succeeded))
    found = patient.look_up(operation="transfer", key=key)
    assert isinstance(found, Succeeded)
    assert [made["id"] for made in sandbox.transfers(key)] == [found.reference]


def test_a_transfer_that_never_arrived_is_sent_again_with_the_same_key(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str
) -> None:
    """Lost on the way there: not found, sent again, once."""
    sandbox.fault("transfer", "drop_before")
    assert isinstance(transfer(gateway, key), Unknown)
    assert gateway.look_up(operation="transfer", key=key) == NotFound()
    assert isinstance(transfer(gateway, key), Succeeded)
    assert len(sandbox.transfers(key)) == 1


def test_a_stored_server_error_is_replayed_while_the_look_up_knows_better(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str
) -> None:
    """A 500 after the work is repeated under its key for a day; only the look-up tells that the money went."""
    sandbox.fault("transfer", "error_after")
    assert isinstance(transfer(gateway, key), Unknown)
    assert isinstance(transfer(gateway, key), Unknown)
    found = gateway.look_up(operation="transfer", key=key)
    assert isinstance(found, Succeeded)
    assert [made["id"] for made in sandbox.transfers(key)] == [found.reference]


def test_a_stored_server_error_without_work_stays_unknown_until_the_key_is_forgotten(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str
) -> None:
    """A 500 that did nothing blocks its key for a day; then the same key works, so no new one is ever needed."""
    sandbox.fault("transfer", "error_stored")
    for _ in range(2):
        assert isinstance(transfer(gateway, key), Unknown)
        assert gateway.look_up(operation="transfer", key=key) == NotFound()
    sandbox.forget_keys()
    assert isinstance(transfer(gateway, key), Succeeded)


def test_a_server_error_before_the_work_is_not_stored(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str
) -> None:
    """A 500 from before the work leaves the key free."""
    sandbox.fault("transfer", "error_before")
    assert isinstance(transfer(gateway, key), Unknown)
    assert isinstance(transfer(gateway, key), Succeeded)


def test_a_refused_validation_is_not_stored_and_a_decline_is(sandbox: SandboxProcess, key: str) -> None:
    """As Stripe documents: a key remembers what was carried out or refused in execution, not what was malformed."""
    form = {"amount": "100", "currency": "eur", "destination": "acct_1"}
    assert sandbox.post("/v1/transfers", {**form, "amount": "-1"}, key).status_code == 400
    sandbox.fault("transfer", "decline")
    declined = sandbox.post("/v1/transfers", form, key)
    again = sandbox.post("/v1/transfers", form, key)
    assert (declined.status_code, again.status_code) == (400, 400)
    assert again.json() == declined.json()
    assert again.headers["Idempotent-Replayed"] == "true"


def test_two_objects_under_one_key_stop_everything(gateway: StripeGateway, sandbox: SandboxProcess, key: str) -> None:
    """Should the provider ever hold two transfers of one key, a person must look: neither is simply "the" result."""
    assert isinstance(transfer(gateway, key), Succeeded)
    sandbox.forget_keys()
    assert isinstance(transfer(gateway, key), Succeeded)
    with pytest.raises(IdempotencyMismatchError):
        gateway.look_up(operation="transfer", key=key)


@pytest.mark.parametrize("fault", ["drop_before", "drop_reply_after", "error_before", "error_after", "rate_limit"])
def test_the_documented_loop_ends_definite_and_moves_the_money_once(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, fault: str
) -> None:
    """Send, look up, send again with the same key on "not found": ends in one transfer under every kind of trouble."""
    sandbox.fault("transfer", fault, times=2)
    sandbox.fault("look_up", "drop_reply_after", times=2)
    outcome: Any = transfer(gateway, key)
    for _ in range(10):
        if isinstance(outcome, Succeeded | Declined):
            break
        outcome = gateway.look_up(operation="transfer", key=key)
        outcome = transfer(gateway, key) if isinstance(outcome, NotFound) else outcome
    assert isinstance(outcome, Succeeded)
    assert [made["id"] for made in sandbox.transfers(key)] == [outcome.reference]
