"""Seals on commands: proof, checked inside of the books' own transaction, that one of our programs sent them.

Whoever reaches Temporal can send an update or a signal by hand. HMAC-SHA256 under a key that only our programs have
makes such a message worth nothing. Source: docs/security.md.
"""

from typing import Final, TypeVar

from pydantic import BaseModel

from ledger.keyring import Keyring
from models.charges import ChargeOrder
from models.commands import Command, SystemCommand
from models.errors import ErrorCode, Refusal

Sent = TypeVar("Sent", bound=Command)

# The workflow lowers a time of receipt that lies ahead, so it cannot be part of what is sealed.
_NOT_SEALED: Final = {"seal", "received_at"}


class Seals:
    """Makes and checks seals. A seal is good for one tenant, one command and its body, whatever moment it arrives."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def seal(self, command: Sent, tenant: str) -> Sent:
        """The command with a seal that holds for an escrow of this tenant."""
        return command.model_copy(update={"seal": self.of(command, tenant)})

    def of(self, command: Command, tenant: str) -> str:
        """The seal alone, as ``key id:hex``."""
        return self._keyring.sign("seal", _said(command.name, tenant, command))

    def seal_charge(self, order: ChargeOrder) -> ChargeOrder:
        """The order with a seal; only such a one is charged."""
        return order.model_copy(update={"seal": self._keyring.sign("seal", _said("charge", order.tenant, order))})

    def refuse(self, command: Command, tenant: str) -> Refusal | None:
        """Why the command is not taken for an escrow of this tenant; None when it is sealed as it should be.

        What the system's own workflows make needs no seal: no update and no signal carries it.
        """
        if isinstance(command, SystemCommand):
            return None
        return self._refuse(f"the command {command.name}", _said(command.name, tenant, command), command.seal)

    def refuse_charge(self, order: ChargeOrder) -> Refusal | None:
        """Why the order is not charged; None when it is sealed as it should be."""
        return self._refuse("the charge", _said("charge", order.tenant, order), order.seal)

    def _refuse(self, what: str, said: bytes, seal: str | None) -> Refusal | None:
        if seal is None:
            why = "bears no seal: commands come from the API, from `holdfast`, or from a program that has the keys"
        elif not self._keyring.verifies("seal", said, seal):
            why = "bears a seal that is not of this command and tenant, or was made with a key that is not known here"
        else:
            return None
        return Refusal(code=ErrorCode.UNSEALED_COMMAND.code, message=f"{what} {why}")


def _said(name: str, tenant: str, document: BaseModel) -> bytes:
    """What a seal is about. Without defaults, so that a later version, which knows more fields, says the same."""
    body = document.model_dump_json(exclude=_NOT_SEALED, exclude_defaults=True)
    return f"{name} {tenant} {body}".encode()
