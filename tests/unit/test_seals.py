"""A seal is good for one tenant, one command and its body, under a key that is known; and for nothing else."""

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from ledger.keyring import Keyring
from ledger.seals import Seals
from models.charges import ChargeOrder
from models.commands import SYSTEM, Actor, Cancel, Command, Origin, ReachDeadline, Refund
from models.errors import ErrorCode, Refusal
from tests.builders import BUYER, SELLER, new_id

SEALS: Final = Seals(Keyring({"k1": bytes(32)}))
TENANT: Final = new_id("ten")
CANCEL: Final = SEALS.seal(Cancel(id="c-1", escrow=new_id("esc"), actor=BUYER), TENANT)
ORDER: Final = ChargeOrder(
    id=new_id("chg"), tenant=TENANT, party="alice", amount=700, currency="EUR", payment_method="pm_card_visa"
)


def test_a_sealed_command_is_taken_at_any_moment_and_from_any_later_reading() -> None:
    """The time of receipt is not part of it: the workflow may lower it. JSON and back changes nothing."""
    later = CANCEL.model_copy(update={"received_at": datetime.now(UTC)})
    assert SEALS.refuse(later, TENANT) is None
    assert SEALS.refuse(Cancel.model_validate_json(later.model_dump_json()), TENANT) is None


CHANGES: Final[dict[str, dict[str, Any]]] = {
    "id": {"id": "c-2"},
    "escrow": {"escrow": new_id("esc", datetime(2030, 1, 1, tzinfo=UTC))},
    "actor": {"actor": SELLER},
    "party": {"actor": Actor(role="buyer", party="mallory")},
    "version": {"expected_version": 3},
    "origin": {"origin": Origin(ip="203.0.113.9")},
    "seal": {"seal": f"k1:{'0' * 64}"},
    "key": {"seal": f"k2:{str(CANCEL.seal).partition(':')[2]}"},
    "no seal": {"seal": None},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_whatever_of_it_is_changed_the_seal_is_broken(change: dict[str, Any]) -> None:
    """Every part that decides anything or is put on record."""
    assert _code(SEALS.refuse(CANCEL.model_copy(update=change), TENANT)) == ErrorCode.UNSEALED_COMMAND.code


def test_it_is_of_one_tenant_and_one_command() -> None:
    """Not of another tenant's escrow, nor of another command with the same fields, nor of a charge."""
    assert _code(SEALS.refuse(CANCEL, new_id("ten", datetime(2030, 1, 1, tzinfo=UTC)))) == "unsealed_command"
    refund = Refund(id=CANCEL.id, escrow=CANCEL.escrow, actor=CANCEL.actor, seal=CANCEL.seal)
    assert _code(SEALS.refuse(refund, TENANT)) == "unsealed_command"


def test_keys_are_changed_and_taken_away() -> None:
    """What an older key sealed is taken as long as the key is known."""
    newer = Seals(Keyring({"k2": bytes(range(32)), "k1": bytes(32)}))
    assert newer.refuse(CANCEL, TENANT) is None
    assert str(newer.of(CANCEL, TENANT)).startswith("k2:")
    assert _code(Seals(Keyring({"k2": bytes(range(32))})).refuse(CANCEL, TENANT)) == "unsealed_command"


def test_what_the_system_does_by_itself_needs_none() -> None:
    """Its workflows hold no key, and nobody can send such a command."""
    command: Command = ReachDeadline(id="~x", escrow=CANCEL.escrow, actor=SYSTEM, deadline=new_id("dln"), generation=1)
    assert SEALS.refuse(command, TENANT) is None
    assert _code(SEALS.refuse(Cancel(id="x", escrow=CANCEL.escrow, actor=SYSTEM), TENANT)) == "unsealed_command"


def test_a_charge_is_sealed_with_its_amount_payer_and_method() -> None:
    """Nobody can have another amount charged, or somebody else."""
    sealed = SEALS.seal_charge(ORDER)
    assert SEALS.refuse_charge(sealed) is None
    for change in ({"amount": 701}, {"party": "bob"}, {"payment_method": "pm_other"}, {"seal": None}):
        assert _code(SEALS.refuse_charge(sealed.model_copy(update=change))) == "unsealed_command"


def _code(refusal: Refusal | None) -> str | None:
    return refusal.code if refusal else None
