"""Whom money reached and who paid, in the provider's words and in ours: sums agree to the last unit while somebody else
is paid.

Both sides are words by operation's key: what the provider has, and what it may have by the books and by what the
platform asked for, which no code of ours has touched.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, text

Named = Mapping[tuple[str, str], set[str]]
"""(tenant, party) → every account that the platform ever named as that party's."""

# A payout's row has the account of the generation that was sent last; an earlier one went to what was the seller's.
_PAYOUTS: Final = """
SELECT p.id, p.generation, p.destination, p.status IN ('in_transit', 'unknown', 'paid', 'returned') AS sent,
       e.tenant_id, e.seller, e.currency
FROM payout p JOIN escrow e ON e.id = p.escrow_id
"""
_CHARGES: Final = "SELECT id, party, payment_method, amount, currency FROM charge"


def transferred(transfer: Mapping[str, Any]) -> str:
    """Where a transfer of the provider's went."""
    return _to(transfer["destination"], transfer["currency"])


def charged(charge: Mapping[str, Any]) -> str:
    """Who paid a charge of the provider's, and by what."""
    party = charge["metadata"].get("holdfast_party")
    return _by(party, charge["payment_method"], charge["amount"], charge["currency"])


def rightful(connection: Connection, named: Named) -> dict[str, set[str]]:
    """What the provider may have, by key."""
    found = {
        row.id: {_by(row.party, row.payment_method, row.amount, row.currency)}
        for row in connection.execute(text(_CHARGES))
    }
    for row in connection.execute(text(_PAYOUTS)):
        accounts = named.get((row.tenant_id, row.seller), set())
        for generation in range(1, row.generation + 1):
            last = generation == row.generation and row.sent
            may = accounts & {row.destination} if last else accounts
            found[f"{row.id}:{generation}"] = {_to(account, row.currency) for account in may}
    return found


def _to(account: object, currency: str) -> str:
    return f"{account} in {currency.upper()}"


def _by(party: object, method: object, amount: int, currency: str) -> str:
    return f"{amount} {currency.upper()} of {party} by {method}"
