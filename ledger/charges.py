"""Charges in the books: written down before the gateway is asked, credited to the wallet once."""

from datetime import UTC, datetime
from typing import Final

from ledger.load import Connection
from ledger.write import entry_rows, insert_rows
from models import ids, postings
from models.charges import Charge, ChargeOrder, ChargeResult
from models.money import Money

_INSERT: Final = """
INSERT INTO charge (id, tenant_id, party, amount, currency, payment_method, status)
VALUES (%(id)s, %(tenant)s, %(party)s, %(amount)s, %(currency)s, %(payment_method)s, 'pending')
ON CONFLICT (id) DO NOTHING
"""
_SELECT: Final = """
SELECT json_build_object('id', id, 'tenant', tenant_id, 'party', party, 'amount', amount, 'currency', currency,
    'payment_method', payment_method, 'status', status, 'reference', reference, 'reason', reason,
    'created_at', created_at)::text
FROM charge WHERE id = %(id)s FOR UPDATE
"""
_UPDATE: Final = """
UPDATE charge SET status = %(status)s, reference = %(reference)s, reason = %(reason)s, updated_at = now()
WHERE id = %(id)s
"""


class ChargeReusedError(ValueError):
    """A charge with this id exists for another amount, party or method; the gateway is not asked."""


def begin(connection: Connection, order: ChargeOrder) -> Charge:
    """Write the charge down, or find it. Raises ``ChargeReusedError`` when the id stands for another charge."""
    connection.execute(_INSERT, order.model_dump())
    charge = _locked(connection, order.id)
    known = ChargeOrder(**charge.model_dump(include=set(ChargeOrder.model_fields)))
    if known != order.model_copy(update={"seal": None}):
        raise ChargeReusedError(f"charge {order.id} was made for {charge.amount} {charge.currency} of {charge.party}")
    connection.commit()
    return charge


def settle(connection: Connection, result: ChargeResult, gateway: str) -> Charge:
    """Book a definite outcome: debit gateway_cash, credit wallet. A second time it only answers what was booked."""
    charge = _locked(connection, result.id)
    if charge.status == "pending":
        connection.execute(_UPDATE, result.model_dump())
        if result.status == "succeeded":
            _credit(connection, charge, gateway)
        charge = charge.model_copy(update=result.model_dump())
    connection.commit()
    return charge


def _locked(connection: Connection, identifier: str) -> Charge:
    row = connection.execute(_SELECT, {"id": identifier}).fetchone()
    if row is None:
        raise LookupError(f"there is no charge {identifier}")
    return Charge.model_validate_json(row[0])


def _credit(connection: Connection, charge: Charge, gateway: str) -> None:
    now = datetime.now(UTC)
    transaction = postings.top_up(gateway, charge.party, Money(charge.amount, charge.currency))
    identifier = ids.derive("txn", ids.made_at(charge.id), charge.id)
    header = {
        "id": identifier,
        "tenant_id": charge.tenant,
        "command_id": charge.id,
        "memo": transaction.memo,
        "posted_at": now,
    }
    entries = entry_rows(charge.tenant, identifier, now, transaction.postings)
    insert_rows(connection, {"ledger_transaction": [header], "entry": entries})
