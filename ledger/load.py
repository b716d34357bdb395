"""Reading, under lock, all that a decision needs: the lock, then one statement for the rest, in one round trip."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow

from models.commands import Amend, Command, Create, Fund
from models.decision import Funds
from models.escrow import Escrow
from models.fee_policies import FeePolicy
from models.fields import Document
from models.money import Money
from models.outcome import Outcome
from models.policies import Policies, ReleasePolicy, SpendPolicy

Connection = psycopg.Connection[TupleRow]

# The lock comes before everything else is read, in a statement of its own: under READ COMMITTED each statement sees
# what was committed before it began, and a single statement would lock the new row but read the old milestones.
LOCK_ESCROW: Final = "SELECT FROM escrow WHERE id = %(escrow)s FOR UPDATE"

STORED_COMMAND: Final = """
SELECT input_hash, outcome::text FROM command
WHERE id = %(command)s
  AND tenant_id = coalesce(%(tenant)s::text, (SELECT tenant_id FROM escrow WHERE id = %(escrow)s))
"""

ESCROW: Final = """
SELECT json_build_object(
    'id', e.id, 'tenant', e.tenant_id, 'buyer', e.buyer, 'seller', e.seller, 'amount', e.amount,
    'currency', e.currency, 'category', e.category, 'title', e.title, 'state', e.state, 'version', e.version,
    'funded', e.funded, 'held', e.held, 'disputed', e.disputed, 'released', e.released, 'refunded', e.refunded,
    'release', e.release, 'metadata', e.metadata, 'clock_offset', t.clock_offset,
    'created_at', e.created_at, 'updated_at', e.updated_at,
    'milestones', coalesce((SELECT json_agg(json_build_object(
        'id', m.id, 'position', m.position, 'title', m.title, 'description', m.description, 'amount', m.amount,
        'reversed', m.reversed, 'due', m.due, 'status', m.status, 'generation', m.generation,
        'evidence', m.evidence, 'rejection', m.rejection) ORDER BY m.position)
        FROM milestone m WHERE m.escrow_id = e.id AND NOT m.withdrawn), '[]'),
    'disputes', coalesce((SELECT json_agg(json_build_object(
        'id', d.id, 'raised_by', d.raised_by, 'reason', d.reason, 'description', d.description,
        'evidence', d.evidence, 'milestones', d.milestones, 'amount', d.amount, 'status', d.status,
        'came_from', d.came_from, 'resolution', d.resolution, 'details', d.details,
        'resolved_by', d.resolved_by) ORDER BY d.id)
        FROM dispute d WHERE d.escrow_id = e.id), '[]'),
    'deadlines', coalesce((SELECT json_agg(json_build_object(
        'id', l.id, 'kind', l.kind, 'milestone', l.milestone, 'generation', l.generation,
        'due_at', l.due_at, 'deferred_because', l.deferred_because) ORDER BY l.due_at, l.id)
        FROM deadline l WHERE l.escrow_id = e.id AND l.pending), '[]'),
    'payouts', coalesce((SELECT json_agg(json_build_object(
        'id', p.id, 'settlement', p.settlement, 'milestones', p.milestones, 'party', p.party,
        'destination', p.destination, 'amount', p.amount, 'status', p.status, 'generation', p.generation,
        'reference', p.reference, 'reason', p.reason) ORDER BY p.id)
        FROM payout p WHERE p.escrow_id = e.id), '[]')
)::text
FROM escrow e JOIN tenant t ON t.id = e.tenant_id WHERE e.id = %(escrow)s
"""

CIRCUMSTANCES: Final = """
WITH subject AS (
    SELECT tenant_id, buyer, seller, currency FROM escrow WHERE id = %(escrow)s
    UNION ALL
    SELECT %(tenant)s::text, %(buyer)s::text, %(seller)s::text, %(currency)s::text WHERE %(tenant)s::text IS NOT NULL
    LIMIT 1
)
SELECT t.reporting_currency, t.clock_offset, fees.version, fees.document::text, release.document::text,
       spend.document::text, s.currency, seller.payout_destination, charge.status, charge.reason,
       CASE WHEN %(wallet)s THEN lock_wallet(s.tenant_id, s.buyer, s.currency) END
FROM subject s
JOIN tenant t ON t.id = s.tenant_id
LEFT JOIN LATERAL (SELECT version, document FROM policy WHERE tenant_id = t.id AND kind = 'fees'
                   ORDER BY version DESC LIMIT 1) fees ON true
LEFT JOIN LATERAL (SELECT document FROM policy WHERE tenant_id = t.id AND kind = 'release'
                   ORDER BY version DESC LIMIT 1) release ON true
LEFT JOIN LATERAL (SELECT document FROM policy WHERE tenant_id = t.id AND kind = 'spend'
                   ORDER BY version DESC LIMIT 1) spend ON true
LEFT JOIN party seller ON seller.tenant_id = t.id AND seller.id = s.seller
LEFT JOIN charge ON charge.id = %(charge)s AND charge.tenant_id = t.id AND charge.party = s.buyer
"""

# Without circumstances there is no tenant, and so neither an escrow nor a command.
EVERYTHING: Final = (
    f"SELECT * FROM ({CIRCUMSTANCES}) circumstances "  # noqa: S608 - our own statements
    f"LEFT JOIN ({STORED_COMMAND}) stored ON true LEFT JOIN ({ESCROW}) escrow ON true"
)


@dataclass(frozen=True)
class Loaded:
    """What was found under lock. ``stored`` is what an earlier attempt of the same command left behind."""

    escrow: Escrow | None
    stored: tuple[str, Outcome] | None
    policies: Policies
    funds: Funds
    clock_offset: int
    known_tenant: bool


def load(connection: Connection, command: Command, charge: str | None, reserves: SpendPolicy) -> Loaded:
    """Lock the escrow and read all that ``decide`` needs, in one round trip."""
    create = command if isinstance(command, Create) else None
    parameters = {
        "escrow": command.escrow,
        "command": command.id,
        "tenant": create and create.tenant,
        "buyer": create and create.buyer,
        "seller": create and create.seller,
        "currency": create and create.currency,
        "charge": charge,
        "wallet": isinstance(command, Create | Amend | Fund),
    }
    with connection.pipeline():
        connection.execute(LOCK_ESCROW, parameters)
        everything = connection.execute(EVERYTHING, parameters)
    return _loaded(everything.fetchone(), reserves)


def read_escrow(connection: Connection, escrow: str) -> Escrow | None:
    """Read an escrow as it stands, without a lock."""
    row = connection.execute(ESCROW, {"escrow": escrow}).fetchone()
    return Escrow.model_validate_json(row[0]) if row else None


def _loaded(row: TupleRow | None, reserves: SpendPolicy) -> Loaded:
    if row is None:
        return Loaded(None, None, Policies(), Funds(), 0, known_tenant=False)
    reporting, offset, fees_version, fees, release, spend, currency, destination, charge, reason, available = row[:11]
    input_hash, outcome, escrow = row[11:]
    policies = Policies(
        fees=_document(FeePolicy, fees) if fees else None,
        fees_version=fees_version,
        release=_document(ReleasePolicy, release) if release else ReleasePolicy(),
        spend=_document(SpendPolicy, spend) if spend else reserves,
        reporting_currency=reporting,
    )
    funds = Funds(
        available=None if available is None else Money(available, currency),
        charge=charge if charge in {"succeeded", "declined"} else None,
        charge_reason=reason,
        seller_destination=destination,
    )
    return Loaded(
        escrow=Escrow.model_validate_json(escrow) if escrow else None,
        stored=(input_hash, Outcome.model_validate_json(outcome)) if outcome else None,
        policies=policies,
        funds=funds,
        clock_offset=offset,
        known_tenant=True,
    )


@lru_cache(maxsize=512)
def _document(kind: type[Document], text: str) -> Any:
    """Policies never change once written, so the parsed form is kept."""
    return kind.model_validate_json(text)
