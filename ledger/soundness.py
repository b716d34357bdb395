"""Whether the books agree with themselves: the audit with what the other tables know, and the money with its entries.

Each check is one query of ``Finding``'s columns, for a tenant, an escrow or all; on whole books it answers no row.
PostgreSQL refuses all of this to the program: what is found here was done past it, by a superuser or on the disk.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Finding:
    """Something that is wrong. ``position`` and ``audit`` name the row of the chain, if it is about one."""

    tenant: str
    escrow: str | None
    position: int | None
    audit: str | None
    kind: str
    says: str


def _scoped(tenant: str, escrow: str) -> str:
    return (
        f"(CAST(:tenant AS text) IS NULL OR {tenant} = :tenant) "
        f"AND (CAST(:escrow AS text) IS NULL OR {escrow} = :escrow)"
    )


def _check(kind: str, says: str, source: str, *, of: str, position: str = "NULL::bigint", audit: str = "NULL") -> str:
    """A query of findings: ``of`` are the columns of the tenant and the escrow, apart from the rest of its FROM."""
    tenant, escrow = of.split()
    columns = f"{tenant} AS tenant, {escrow} AS escrow, {position} AS position, {audit} AS audit"
    return f"SELECT {columns}, '{kind}' AS kind, {says} AS says FROM {source.format(scope=_scoped(tenant, escrow))}"  # noqa: S608


def _end_of(escrow: str) -> str:
    """The position after the last one, where something is missing if nothing is before."""
    return f"(SELECT count(*) + 1 FROM audit WHERE escrow_id = {escrow} HAVING count(*) = coalesce(max(position), 0))"  # noqa: S608


_SIGNED: Final = "CASE direction WHEN 'debit' THEN amount ELSE -amount END"
_ACCEPTED_ROW: Final = """SELECT FROM audit a
    WHERE a.escrow_id = {0}.escrow_id AND a.command_id = {0}.command_id AND a.outcome = 'accepted'"""

# What the chain alone cannot know: that its end was cut off, or that a whole chain was.
_AUDIT: Final = (
    _check(
        "missing",
        "'the audit ends at version ' || coalesce(l.after_version, 0) || ', the escrow is at ' || e.version",
        """escrow e LEFT JOIN LATERAL (SELECT after_version FROM audit a WHERE a.escrow_id = e.id
               AND a.outcome = 'accepted' ORDER BY a.position DESC LIMIT 1) l ON true
           WHERE l.after_version IS DISTINCT FROM e.version AND {scope} ORDER BY e.id""",
        of="e.tenant_id e.id",
        position=_end_of("e.id"),
    ),
    _check(
        "missing",
        "'command ' || c.id || ' (' || c.name || ') was decided and has no row'",
        """command c WHERE {scope} AND NOT EXISTS (SELECT FROM audit a
               WHERE a.escrow_id = c.escrow_id AND a.command_id = c.id AND a.tenant_id = c.tenant_id
                   AND a.outcome <> 'unsealed_command')
           ORDER BY c.escrow_id, c.recorded_at, c.id""",
        of="c.tenant_id c.escrow_id",
        position=_end_of("c.escrow_id"),
    ),
    _check(
        "invented",
        "'it tells of command ' || a.command_id || ', which was never decided'",
        # An attempt without a seal is on record, and decides nothing: its command's id stays free.
        """audit a WHERE {scope} AND a.outcome <> 'unsealed_command' AND NOT EXISTS (SELECT FROM command c
               WHERE c.tenant_id = a.tenant_id AND c.id = a.command_id AND c.escrow_id = a.escrow_id)
           ORDER BY a.escrow_id, a.position""",
        of="a.tenant_id a.escrow_id",
        position="a.position",
        audit="a.id",
    ),
    _check(
        "contradicted",
        "'the audit and the stored outcome differ on whether command ' || c.id || ' was accepted'",
        """command c WHERE {scope}
               AND EXISTS (SELECT FROM audit a WHERE a.escrow_id = c.escrow_id AND a.command_id = c.id)
               AND (c.outcome ->> 'refusal' IS NULL) <> EXISTS (SELECT FROM audit a
                   WHERE a.escrow_id = c.escrow_id AND a.command_id = c.id AND a.outcome = 'accepted')
           ORDER BY c.escrow_id, c.recorded_at, c.id""",
        of="c.tenant_id c.escrow_id",
    ),
    _check(
        "missing",
        "'settlement ' || s.id || ' was made by command ' || s.command_id || ', which the audit did not accept'",
        f"settlement s WHERE {{scope}} AND NOT EXISTS ({_ACCEPTED_ROW.format('s')}) ORDER BY s.escrow_id, s.id",
        of="s.tenant_id s.escrow_id",
        position=_end_of("s.escrow_id"),
    ),
    _check(
        "missing",
        "'ledger transaction ' || t.id || ' is of command ' || t.command_id || ', which the audit did not accept'",
        f"""ledger_transaction t
            WHERE {{scope}} AND t.escrow_id IS NOT NULL AND NOT EXISTS ({_ACCEPTED_ROW.format("t")})
            ORDER BY t.escrow_id, t.id""",
        of="t.tenant_id t.escrow_id",
        position=_end_of("t.escrow_id"),
    ),
)

_MONEY: Final = (
    _check(
        "money",
        f"""'ledger transaction ' || e.transaction_id || ' does not balance in ' || e.currency
            || ': off by ' || sum({_SIGNED})""",
        f"""entry e LEFT JOIN ledger_transaction t ON t.id = e.transaction_id WHERE {{scope}}
            GROUP BY e.tenant_id, t.escrow_id, e.transaction_id, e.currency HAVING sum({_SIGNED}) <> 0
            ORDER BY e.transaction_id""",
        of="e.tenant_id t.escrow_id",
    ),
    _check(
        "money",
        "'ledger transaction ' || t.id || ' has no entries'",
        """ledger_transaction t WHERE {scope} AND NOT EXISTS (SELECT FROM entry e WHERE e.transaction_id = t.id)
           ORDER BY t.id""",
        of="t.tenant_id t.escrow_id",
    ),
    _check(
        "money",
        "'ledger transaction ' || e.transaction_id || ' posts to suspense, and no correction says so'",
        """entry e LEFT JOIN ledger_transaction t ON t.id = e.transaction_id
           WHERE {scope} AND e.account_kind = 'suspense' AND NOT EXISTS (SELECT FROM correction c
               WHERE c.transaction_id = e.transaction_id AND c.status = 'booked' AND c.tenant_id = e.tenant_id
                   AND c.amount = CASE e.direction WHEN 'credit' THEN e.amount ELSE -e.amount END)
           ORDER BY e.transaction_id""",
        of="e.tenant_id t.escrow_id",
    ),
    # The accounts of an escrow have its id for owner; those of parties are checked with their tenant.
    _check(
        "money",
        "'account ' || kind || ' of ' || owner || ' says ' || said || ' ' || currency || ', its entries ' || entries",
        """(SELECT coalesce(a.tenant_id, b.tenant_id) AS tenant, coalesce(a.owner, b.owner) AS owner,
                   coalesce(a.kind, b.account_kind) AS kind, coalesce(a.currency, b.currency) AS currency,
                   coalesce(a.balance::text, 'nothing') AS said, coalesce(b.balance, 0) AS entries
            FROM account a FULL JOIN (SELECT v.* FROM account_balance v JOIN account_kind k
                                      ON k.kind = v.account_kind AND k.has_floor) b
              ON b.tenant_id = a.tenant_id AND b.account_kind = a.kind AND b.owner = a.owner AND b.currency = a.currency
            WHERE a.balance IS DISTINCT FROM coalesce(b.balance, 0)) AS differing
           WHERE {scope} ORDER BY tenant, kind, owner, currency""",
        of="differing.tenant differing.owner",
    ),
    _check(
        "money",
        """'the escrow counts ' || e.held || ' held, ' || e.disputed || ' disputed, ' || e.contested
           || ' contested; its accounts ' || a.held || ', ' || a.disputed || ', ' || a.contested""",
        """escrow e CROSS JOIN LATERAL (
               SELECT coalesce(sum(balance) FILTER (WHERE kind = 'escrow_hold'), 0) AS held,
                      coalesce(sum(balance) FILTER (WHERE kind = 'disputed_funds'), 0) AS disputed,
                      coalesce(sum(balance) FILTER (WHERE kind = 'chargeback_hold'), 0) AS contested
               FROM account a WHERE a.tenant_id = e.tenant_id AND a.owner = e.id AND a.currency = e.currency
                   AND a.kind IN ('escrow_hold', 'disputed_funds', 'chargeback_hold')) a
           WHERE {scope} AND (e.held, e.disputed, e.contested) <> (a.held, a.disputed, a.contested) ORDER BY e.id""",
        of="e.tenant_id e.id",
    ),
    # A chargeback takes what was still held, and then of what was released and refunded, without a settlement; so does
    # what the buyer had added for fees return when a bank has taken the last of the deal's money.
    _check(
        "money",
        "'what was released and refunded is ' || e.left_by_settlement || ', its settlements are ' || s.total",
        """(SELECT id, tenant_id, released + refunded + charged_back - (SELECT coalesce(sum(frozen), 0)
                   FROM chargeback c WHERE c.escrow_id = escrow.id AND c.status = 'lost')
                   - (SELECT coalesce(sum(e.amount), 0)
                      FROM ledger_transaction t JOIN entry e ON e.transaction_id = t.id
                      WHERE t.escrow_id = escrow.id AND t.memo = 'surcharge returned' AND e.direction = 'debit')
                   AS left_by_settlement
            FROM escrow) e
           CROSS JOIN LATERAL (SELECT coalesce(sum(total), 0) AS total FROM settlement s
               WHERE s.escrow_id = e.id AND s.reverses IS NULL) s
           WHERE {scope} AND e.left_by_settlement <> s.total ORDER BY e.id""",
        of="e.tenant_id e.id",
    ),
    _check(
        "money",
        "'the parts of settlement ' || s.id || ' are not its total'",
        """settlement s WHERE {scope} AND (s.total <> s.platform_fee + s.seller_payout + s.buyer_refund
               OR s.fx_total <> s.fx_platform_fee + s.fx_seller_payout + s.fx_buyer_refund) ORDER BY s.id""",
        of="s.tenant_id s.escrow_id",
    ),
    # Beside its own, a settlement's command may have posted more: a dispute's fee that is owed, a receivable netted.
    _check(
        "money",
        """'settlement ' || s.id || ' says ' || s.total || ', of it ' || s.platform_fee - s.fee_returned
           || ' earned and ' || s.seller_payout || ' payable; its entries ' || f.total || ', ' || f.earned
           || ' and ' || f.payable""",
        f"""settlement s CROSS JOIN LATERAL (SELECT
                   coalesce(sum(amount) FILTER (WHERE direction = 'debit'), 0) AS total,
                   coalesce(-sum({_SIGNED}) FILTER (
                       WHERE account_kind IN ('fee_revenue', 'dispute_fee_revenue')), 0) AS earned,
                   coalesce(-sum({_SIGNED}) FILTER (WHERE account_kind = 'dispute_fee_revenue'), 0) AS for_dispute,
                   coalesce(-sum({_SIGNED}) FILTER (WHERE account_kind = 'payable'), 0) + s.from_payable AS payable
               FROM ledger_transaction t JOIN entry e ON e.transaction_id = t.id
               WHERE t.escrow_id = s.escrow_id AND t.settlement_id = s.id
                   AND t.memo = CASE WHEN s.reverses IS NULL THEN s.outcome ELSE 'clawback' END) f
            WHERE {{scope}} AND (f.total, f.earned, f.for_dispute, f.payable)
                <> (s.total, s.platform_fee - s.fee_returned, s.dispute_fee, s.seller_payout) ORDER BY s.id""",  # noqa: S608
        of="s.tenant_id s.escrow_id",
    ),
)

CHECKS: Final = (*_AUDIT, *_MONEY)
