"""Reading, under lock, all that a decision needs: the lock, then one statement for the rest, in one round trip."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow

from ledger.rates import RATES, pick
from models.commands import Amend, CloseChargeback, Command, Create, Fund, OpenChargeback, ReverseMilestone
from models.escrow import Escrow
from models.facts import Carried, Funds, Party
from models.fee_policies import FeePolicy
from models.fields import Document
from models.outcome import Outcome
from models.policies import CompliancePolicy, DisputePolicy, Policies, ReleasePolicy, SpendPolicy
from models.templates import Template

# A clawback fills the buyer's wallet, which may be what another clawback takes from, where they also sell.
_BUYERS_MONEY: Final = (Create, Amend, Fund, OpenChargeback, CloseChargeback, ReverseMilestone)

Connection = psycopg.Connection[TupleRow]

# The lock comes before everything else is read, in a statement of its own: under READ COMMITTED each statement sees
# what was committed before it began, and a single statement would lock the new row but read the old milestones.
LOCK_ESCROW: Final = "SELECT FROM escrow WHERE id = %(escrow)s FOR UPDATE"
# For the role of the HTTP API, which may not change an escrow and so may not lock one by itself.
LOCK_VISIBLE_ESCROW: Final = "SELECT lock_escrow(%(escrow)s)"

STORED_COMMAND: Final = """
SELECT input_hash, outcome::text FROM command
WHERE id = %(command)s
  AND tenant_id = coalesce(%(tenant)s::text, (SELECT tenant_id FROM escrow WHERE id = %(escrow)s))
"""

# The seller's accounts decide about payouts and clawbacks, the buyer's wallet about fundings, both about chargebacks.
# So do both while there is a dispute: its end, which may come with any command, can leave the buyer owing a fee, and
# two who buy of each other would each be paid past the debt that the other's verdict makes.
# The lock has a statement of its own too: until it is held, another escrow may change what the seller has and owes.
LOCK_PARTIES: Final = """
SELECT lock_parties(s.tenant_id, s.currency,
    CASE WHEN %(buyers)s OR EXISTS (SELECT FROM dispute WHERE escrow_id = %(escrow)s
        AND status IN ('open', 'under_review')) THEN s.buyer END, CASE WHEN %(sellers)s THEN s.seller END)
FROM (SELECT tenant_id, currency, buyer, seller FROM escrow WHERE id = %(escrow)s
      UNION ALL SELECT %(tenant)s::text, %(currency)s::text, %(buyer)s::text, %(seller)s::text
                WHERE %(tenant)s::text IS NOT NULL LIMIT 1) s
"""

ESCROW: Final = """
SELECT json_build_object(
    'id', e.id, 'tenant', e.tenant_id, 'buyer', e.buyer, 'seller', e.seller, 'amount', e.amount,
    'currency', e.currency, 'category', e.category, 'title', e.title, 'state', e.state, 'version', e.version,
    'funded', e.funded, 'held', e.held, 'disputed', e.disputed, 'released', e.released, 'refunded', e.refunded,
    'surcharge', e.surcharge, 'contested', e.contested, 'charged_back', e.charged_back,
    'fee_policy_version', e.fee_policy_version, 'release', e.release, 'metadata', e.metadata,
    'clock_offset', t.clock_offset,
    'created_at', e.created_at, 'updated_at', e.updated_at,
    'milestones', coalesce((SELECT json_agg(json_build_object(
        'id', m.id, 'position', m.position, 'title', m.title, 'description', m.description, 'amount', m.amount,
        'reversed', m.reversed, 'due', m.due, 'status', m.status, 'generation', m.generation,
        'evidence', m.evidence, 'rejection', m.rejection, 'rejections', m.rejections,
        'clawed', m.clawed) ORDER BY m.position)
        FROM milestone m WHERE m.escrow_id = e.id AND NOT m.withdrawn), '[]'),
    'disputes', coalesce((SELECT json_agg(json_build_object(
        'id', d.id, 'raised_by', d.raised_by, 'reason', d.reason, 'description', d.description,
        'evidence', d.evidence, 'answers', d.answers, 'milestones', d.milestones, 'amount', d.amount,
        'surcharge', d.surcharge, 'status', d.status,
        'came_from', d.came_from, 'resolution', d.resolution, 'details', d.details,
        'resolved_by', d.resolved_by) ORDER BY d.id)
        FROM dispute d WHERE d.escrow_id = e.id), '[]'),
    'deadlines', coalesce((SELECT json_agg(json_build_object(
        'id', l.id, 'kind', l.kind, 'milestone', l.milestone, 'dispute', l.dispute, 'payout', l.payout,
        'generation', l.generation,
        'due_at', l.due_at, 'deferred_because', l.deferred_because) ORDER BY l.due_at, l.id)
        FROM deadline l WHERE l.escrow_id = e.id AND l.pending), '[]'),
    'payouts', coalesce((SELECT json_agg(json_build_object(
        'id', p.id, 'settlement', p.settlement, 'milestones', p.milestones, 'party', p.party,
        'destination', p.destination, 'amount', p.amount, 'status', p.status, 'generation', p.generation,
        'reference', p.reference, 'reason', p.reason, 'hold', p.hold, 'ready_at', p.ready_at,
        'requested', p.requested, 'enough', p.enough, 'netted', p.netted) ORDER BY p.id)
        FROM payout p WHERE p.escrow_id = e.id), '[]'),
    'releases', coalesce((SELECT json_agg(json_build_object(
        'id', r.id, 'milestones', r.milestones, 'principal', r.principal, 'fee', r.fee, 'buyer_fee', r.buyer_fee,
        'clawed', r.clawed, 'policy_version', r.policy_version, 'rule', r.rule, 'fee_rate', r.fee_rate::text,
        'rate', r.rate) ORDER BY r.id)
        FROM release r WHERE r.escrow_id = e.id), '[]'),
    'chargebacks', coalesce((SELECT json_agg(json_build_object(
        'id', c.id, 'kind', c.kind, 'reference', c.reference, 'reason', c.reason, 'amount', c.amount,
        'frozen', c.frozen, 'surcharge', c.surcharge, 'disputed', c.disputed, 'status', c.status) ORDER BY c.id)
        FROM chargeback c WHERE c.escrow_id = e.id), '[]')
)::text
FROM escrow e JOIN tenant t ON t.id = e.tenant_id WHERE e.id = %(escrow)s
"""

_PARTY: Final = """
    json_build_object('destination', {role}.payout_destination, 'invalid_destination', {role}.invalid_destination,
        'invalid_because', {role}.invalid_because, 'kyc_status', coalesce({role}.kyc_status, 'none'),
        'blocked_because', {role}.blocked_because,
        'wallet', (SELECT balance FROM account WHERE (tenant_id, kind, owner, currency) = (t.id, 'wallet', s.{role}, s.currency)),
        'payable', (SELECT balance FROM account WHERE (tenant_id, kind, owner, currency) = (t.id, 'payable', s.{role}, s.currency)),
        'receivable', (SELECT balance FROM account WHERE (tenant_id, kind, owner, currency) = (t.id, 'receivable', s.{role}, s.currency)))
"""  # noqa: E501

CIRCUMSTANCES: Final = f"""
WITH subject AS (
    SELECT id, tenant_id, buyer, seller, currency, fee_policy_version FROM escrow WHERE id = %(escrow)s
    UNION ALL
    SELECT %(escrow)s, %(tenant)s::text, %(buyer)s::text, %(seller)s::text, %(currency)s::text, NULL
    WHERE %(tenant)s::text IS NOT NULL
    LIMIT 1
)
SELECT t.reporting_currency, t.clock_offset, fees.version, fees.document::text,
       {", ".join(f"(SELECT document::text FROM policy WHERE tenant_id = t.id AND kind = '{kind}' ORDER BY version DESC LIMIT 1)" for kind in ("release", "dispute", "spend", "compliance"))},
       (SELECT document::text FROM template WHERE tenant_id = t.id AND name = %(template)s),
       s.currency, {_PARTY.format(role="buyer")}::text, {_PARTY.format(role="seller")}::text,
       (SELECT released FROM party_volume WHERE (tenant_id, party, currency) = (t.id, s.seller, s.currency)),
       (SELECT json_agg(json_build_object('payout', p.id, 'escrow', p.escrow_id, 'amount', p.amount) ORDER BY p.id)::text
        FROM payout p JOIN escrow o ON o.id = p.escrow_id
        WHERE p.party = s.seller AND p.status = 'due' AND p.hold = 'minimum' AND NOT p.enough AND p.escrow_id <> s.id
            AND (o.tenant_id, o.currency) = (t.id, s.currency)),
       {RATES}, charge.status, charge.reason, charge.amount
FROM subject s
JOIN tenant t ON t.id = s.tenant_id
LEFT JOIN LATERAL (SELECT version, document FROM policy WHERE tenant_id = t.id AND kind = 'fees'
                   AND version = coalesce(s.fee_policy_version, version) ORDER BY version DESC LIMIT 1) fees ON true
LEFT JOIN party buyer ON buyer.tenant_id = t.id AND buyer.id = s.buyer
LEFT JOIN party seller ON seller.tenant_id = t.id AND seller.id = s.seller
LEFT JOIN charge ON charge.id = %(charge)s AND charge.tenant_id = t.id AND charge.party = s.buyer
"""  # noqa: E501, S608 - our own names

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


def load(
    connection: Connection, command: Command, charge: str | None, reserves: SpendPolicy, lock: str = LOCK_ESCROW
) -> Loaded:
    """Lock the escrow and read all that ``decide`` needs, in one round trip."""
    create = command if isinstance(command, Create) else None
    parameters = {
        "escrow": command.escrow,
        "command": command.id,
        "tenant": create and create.tenant,
        "buyer": create and create.buyer,
        "seller": create and create.seller,
        "currency": create and create.currency,
        "template": create and create.template,
        "charge": charge,
        "buyers": isinstance(command, _BUYERS_MONEY),
        "sellers": create is None,
    }
    with connection.pipeline():
        connection.execute(lock, parameters)
        connection.execute(LOCK_PARTIES, parameters)
        everything = connection.execute(EVERYTHING, parameters)
    return _loaded(everything.fetchone(), reserves)


def read_escrow(connection: Connection, escrow: str) -> Escrow | None:
    """Read an escrow as it stands, without a lock."""
    row = connection.execute(ESCROW, {"escrow": escrow}).fetchone()
    return Escrow.model_validate_json(row[0]) if row else None


def _loaded(row: TupleRow | None, reserves: SpendPolicy) -> Loaded:
    if row is None:
        return Loaded(None, None, Policies(), Funds(), 0, known_tenant=False)
    reporting, offset, version, fees, release, dispute, spend, compliance, template, currency = row[:10]
    buyer, seller, volume, carried, rates, charge, reason, charged = row[10:18]
    input_hash, outcome, escrow = row[18:]
    policies = Policies(
        fees=_document(FeePolicy, fees) if fees else None,
        fees_version=version,
        release=_document(ReleasePolicy, release) if release else ReleasePolicy(),
        dispute=_document(DisputePolicy, dispute) if dispute else DisputePolicy(),
        spend=_document(SpendPolicy, spend) if spend else reserves,
        compliance=_document(CompliancePolicy, compliance) if compliance else CompliancePolicy(),
        reporting_currency=reporting,
        template=_document(Template, template) if template else None,
    )
    funds = Funds(
        buyer=_party(buyer),
        seller=_party(seller, volume=volume or 0, carried=tuple(Carried(**one) for one in json.loads(carried or "[]"))),
        charge=charge if charge in {"succeeded", "declined"} else None,
        charge_reason=reason,
        charged=charged,
        rate=pick(rates, currency, reporting, _oldest_rate(policies.release)),
    )
    return Loaded(
        escrow=Escrow.model_validate_json(escrow) if escrow else None,
        stored=(input_hash, Outcome.model_validate_json(outcome)) if outcome else None,
        policies=policies,
        funds=funds,
        clock_offset=offset,
        known_tenant=True,
    )


def _oldest_rate(policy: ReleasePolicy) -> date:
    """Older than this a rate is passed over, if there is another; whether it may serve is for the rules to say."""
    return (datetime.now(UTC) - policy.max_rate_age).date()


def _party(facts: str, **more: Any) -> Party:
    """What is known of a party; an account that was never posted to has nothing."""
    known = {name: value for name, value in json.loads(facts).items() if value is not None}
    return Party(**known, **more)


@lru_cache(maxsize=512)
def _document(kind: type[Document], text: str) -> Any:
    """Policies never change once written, so the parsed form is kept."""
    return kind.model_validate_json(text)
