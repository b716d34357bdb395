"""The books beside the provider's lines, summed up and joined in PostgreSQL however many there are.

Per kind, subject and currency stands what the provider's lines sum up to, and beside it what the books' own entries on
``gateway_cash`` do, each found by what made it. What cannot be named in such a way is a subject of its own, so nothing
is left out; and the sums of everything have to be those of the two accounts, or it is the comparison that is wrong.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine, text

from ledger.reconciliation import AT_A_TIME, close, looked_into, note
from models.differences import GRACE, Facts, Found, judged, readable
from models.reconciliation import Agreement, Balance, Reading

_SIGNED: Final = "CASE e.direction WHEN 'debit' THEN e.amount ELSE -e.amount END"
_ACCEPTED: Final = "a.escrow_id = t.escrow_id AND a.command_id = t.command_id AND a.outcome = 'accepted'"
# A payout's outcome is booked by its workflow under an id that says which; for others the audit knows what was asked.
_PAYOUT: Final = f"""coalesce(substring(t.command_id FROM '^~(pay_[0-9a-z]{{26}}:[0-9]+)\\:paid$'),
    (SELECT a.details ->> 'payout' || ':' || (a.details ->> 'generation') FROM audit a WHERE {_ACCEPTED}))"""  # noqa: S608
_CHARGEBACK: Final = f"""(SELECT c.reference FROM audit a
    JOIN event v ON v.escrow_id = a.escrow_id AND v.version = a.after_version
        AND v.type IN ('chargeback.opened', 'chargeback.lost')
    JOIN chargeback c ON c.id = v.data ->> 'chargeback' WHERE {_ACCEPTED} LIMIT 1)"""  # noqa: S608
_COMPARED: Final = f"""
theirs AS (
    SELECT kind, CASE kind WHEN 'other' THEN id ELSE coalesce(subject, id) END AS subject, currency,
           sum(amount)::bigint AS theirs, count(*) AS their_times, min(moment) AS their_first,
           max(moment) AS their_last, max(type) AS type, max(source) AS source, max(key) AS key
    FROM (SELECT *, least(created_at, read_at) AS moment FROM provider_line WHERE provider = :provider) l
    GROUP BY 1, 2, 3),
entries AS (
    SELECT e.currency, {_SIGNED} AS amount, t.memo, t.recorded_at, t.tenant_id, t.escrow_id,
           CASE t.memo WHEN 'top up' THEN 'charge' WHEN 'payout paid' THEN 'payout'
               WHEN 'payout returned' THEN 'payout_return' WHEN 'charge back' THEN 'contested'
               WHEN 'charged back' THEN 'contested' WHEN 'correction' THEN d.kind END AS kind,
           CASE t.memo WHEN 'top up' THEN t.command_id WHEN 'payout paid' THEN {_PAYOUT}
               WHEN 'payout returned' THEN {_PAYOUT} WHEN 'charge back' THEN {_CHARGEBACK}
               WHEN 'charged back' THEN {_CHARGEBACK} WHEN 'correction' THEN d.subject END AS subject, t.id
    FROM entry e JOIN ledger_transaction t ON t.id = e.transaction_id
    LEFT JOIN correction c ON t.memo = 'correction' AND c.id = t.command_id
    LEFT JOIN difference d ON d.id = c.difference_id
    WHERE e.account_kind = 'gateway_cash' AND e.owner = :provider),
ours AS (
    SELECT CASE WHEN subject IS NULL THEN 'other' ELSE coalesce(kind, 'other') END AS kind,
           CASE WHEN kind IS NULL THEN id ELSE coalesce(subject, id) END AS subject, currency,
           sum(amount)::bigint AS ours, count(*) FILTER (WHERE memo <> 'correction') AS our_times,
           coalesce(sum(amount) FILTER (WHERE memo = 'correction'), 0)::bigint AS corrected,
           min(recorded_at) AS our_first, max(recorded_at) FILTER (WHERE memo <> 'correction') AS our_last,
           min(tenant_id) AS tenant, min(escrow_id) AS escrow
    FROM entries GROUP BY 1, 2, 3),
flying AS (
    SELECT 'charge' AS kind, id AS subject, currency, status AS in_flight, created_at AS asked_at
    FROM charge WHERE status = 'pending'
    UNION ALL
    SELECT 'payout', p.id || ':' || p.generation, x.currency, p.status, coalesce(
        (SELECT max(t.recorded_at) FROM ledger_transaction t JOIN entry e ON e.transaction_id = t.id
         WHERE t.escrow_id = x.id AND e.account_kind = 'payout_in_transit' AND e.owner = p.id), x.created_at)
    FROM payout p JOIN escrow x ON x.id = p.escrow_id WHERE p.status IN ('in_transit', 'unknown')),
contested AS (
    SELECT c.reference, x.currency AS of_currency, sum(c.amount)::bigint AS amount
    FROM chargeback c JOIN escrow x ON x.id = c.escrow_id WHERE c.status = 'open' GROUP BY 1, 2),
misdirected AS (
    SELECT l.kind, l.subject, l.currency, min(p.destination) AS meant_for,
           string_agg(DISTINCT l.destination, ', ') AS went_to
    FROM provider_line l JOIN payout p ON l.subject = p.id || ':' || p.generation
    WHERE l.provider = :provider AND l.kind = 'payout' AND l.destination <> p.destination
        AND p.status IN ('in_transit', 'unknown', 'paid') GROUP BY 1, 2, 3),
sides AS (
    SELECT kind, subject, currency, t.theirs, t.their_times, t.their_first, t.their_last, t.type, t.source, t.key,
           o.ours, o.our_times, o.corrected, o.our_first, o.our_last, o.tenant, o.escrow, f.in_flight, f.asked_at,
           w.meant_for, w.went_to,
           CASE WHEN c.amount > 0 AND coalesce(t.theirs, 0) < coalesce(o.ours - o.corrected, 0)
               THEN -c.amount - coalesce(o.ours - o.corrected, 0) ELSE 0 END AS explained
    FROM theirs t FULL JOIN ours o USING (kind, subject, currency) FULL JOIN flying f USING (kind, subject, currency)
    LEFT JOIN contested c ON kind = 'contested' AND c.reference = subject AND c.of_currency = currency
    LEFT JOIN misdirected w USING (kind, subject, currency)),
compared AS MATERIALIZED (
    SELECT *, coalesce(theirs, 0) - coalesce(ours, 0) - explained AS different FROM sides)
"""  # noqa: S608 - our own names
_QUERY: Final = f"""
WITH {_COMPARED}
SELECT 'total' AS what, json_build_object('currency', currency, 'explained', sum(explained),
    'matched', count(*) FILTER (WHERE different = 0 AND in_flight IS NULL
        AND went_to IS NULL)) AS body FROM compared GROUP BY currency
UNION ALL
SELECT 'found', row_to_json(f) FROM (
    SELECT m.kind, m.subject, m.currency, m.theirs, coalesce(m.their_times, 0) AS their_times, m.their_first,
           m.their_last, m.type, m.source, m.ours, coalesce(m.our_times, 0) AS our_times, m.our_first, m.our_last,
           coalesce(m.corrected, 0) AS corrected, m.explained, m.in_flight, m.asked_at,
           m.meant_for, m.went_to, p.generation,
           CASE m.kind WHEN 'charge' THEN ch.status WHEN 'contested' THEN cb.status ELSE p.status END AS known,
           bool_or(m.theirs IS NOT NULL) OVER one AND bool_or(m.ours IS NOT NULL) OVER one
               AND count(*) OVER one > 1 AS elsewhere,
           coalesce(m.tenant, x.tenant_id, ch.tenant_id) AS tenant, x.id AS escrow
    FROM compared m
    LEFT JOIN charge ch ON ch.id = coalesce(m.key, m.subject)
    LEFT JOIN payout p ON p.id = split_part(coalesce(m.key, m.subject), ':', 1)
    LEFT JOIN LATERAL (SELECT c.escrow_id, c.status FROM chargeback c
        WHERE m.kind = 'contested' AND c.reference = m.subject ORDER BY c.id LIMIT 1) cb ON true
    LEFT JOIN escrow x ON x.id = coalesce(m.escrow, p.escrow_id, cb.escrow_id)
    WHERE m.different <> 0 OR m.went_to IS NOT NULL
        OR (m.in_flight IS NOT NULL AND m.asked_at < :late_after)
    WINDOW one AS (PARTITION BY m.kind, m.subject)) f
"""  # noqa: S608 - our own names
_LINES: Final = """
SELECT currency, sum(amount)::bigint AS amount, sum(fee)::bigint AS fee, count(*) AS lines
FROM provider_line WHERE provider = :provider GROUP BY currency
"""
_CASH: Final = f"""
SELECT e.currency, sum({_SIGNED})::bigint AS amount FROM entry e
WHERE e.account_kind = 'gateway_cash' AND e.owner = :provider GROUP BY e.currency
"""  # noqa: S608 - our own names
_OTHER_CASH: Final = f"""
SELECT e.owner, e.currency, sum({_SIGNED})::bigint AS amount FROM entry e
WHERE e.account_kind = 'gateway_cash' AND e.owner <> :provider GROUP BY 1, 2 HAVING sum({_SIGNED}) <> 0 ORDER BY 1, 2
"""  # noqa: S608 - our own names
_UNEXPLAINED: Final = """
SELECT currency, sum(coalesce(theirs, 0) - coalesce(ours, 0))::bigint AS amount FROM difference
WHERE provider = :provider AND compared = 'provider' AND status = 'open' AND currency IS NOT NULL GROUP BY currency
"""
_FACTS: Final = TypeAdapter(Facts)


class EquationError(Exception):
    """The parts do not sum up to the whole: the comparison is wrong, and nothing of it was written down."""


def compare(engine: Engine, reading: Reading, grace: timedelta = GRACE) -> Agreement:
    """Compare everything as of one moment and write down what does not agree; what agrees again is closed as healed.

    Raises ``EquationError`` when the differences and what is explained are not what the two accounts differ by.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        # All of the books are more than what a command may wait for.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL work_mem = '64MB'"))
        return _compared(connection, reading, grace)


def _compared(connection: Connection, reading: Reading, grace: timedelta) -> Agreement:
    provider, read_up_to = reading.provider, reading.read_up_to
    if read_up_to is None or not reading.done:
        raise ValueError("the statement was not read to its end")
    at: datetime = connection.execute(text("SELECT now()")).scalar_one()
    explained: dict[str, dict[str, int]] = {}
    matched = 0
    values = {"provider": provider, "late_after": read_up_to - grace}
    found: list[Facts] = []
    for what, body in connection.execute(text(_QUERY), values, execution_options={"yield_per": AT_A_TIME}):
        if what == "total":
            matched += body["matched"]
            if body["explained"]:
                explained.setdefault(body["currency"], {})["contested"] = body["explained"]
            continue
        found.append(_FACTS.validate_python(body))
        if len(found) == AT_A_TIME:
            _note(connection, reading, grace, at, found)
            found = []
    _note(connection, reading, grace, at, found)
    lines = list(connection.execute(text(_LINES), {"provider": provider}).mappings())
    net = {row["currency"]: row["amount"] - row["fee"] for row in lines}
    for currency in {*net, *reading.balances}:
        gap = reading.balances.get(currency, 0) - net.get(currency, 0)
        if gap and gap == -reading.moved.get(currency, 0):
            explained.setdefault(currency, {})["moved_meanwhile"] = gap
        elif gap:
            note(connection, provider, at, [_incomplete(provider, currency, net.get(currency, 0), gap, at)])
    note(connection, provider, at, _other_cash(connection, provider, at))
    close(connection, provider, "provider", at)
    balances = _balances(connection, reading, {row["currency"]: -row["fee"] for row in lines}, explained)
    return Agreement(round=reading.round, lines=sum(row["lines"] for row in lines), matched=matched, balances=balances)


def _note(connection: Connection, reading: Reading, grace: timedelta, at: datetime, found: list[Facts]) -> None:
    looked = looked_into(connection, reading.provider, [one.source for one in found if one.source])
    told = (replace(one, looked=looked.get(one.source or "")) for one in found)
    note(
        connection,
        reading.provider,
        at,
        [judged(one, reading.provider, reading.read_up_to or at, grace) for one in told],
    )


def _incomplete(provider: str, currency: str, net: int, gap: int, at: datetime) -> Found:
    """The provider's own books contradict themselves, or some of its lines were never told."""
    told, lines = readable(net + gap, currency), readable(net, currency)
    return Found(
        compared="provider",
        cause="amount_differs",
        subject="balance",
        since=at,
        says=f"{provider} says that it holds {told}; all of its lines together make {lines}",
        remedy=f"Ask {provider}: its statement is not whole, so nothing here is to be corrected for it.",
        ours=net,
        theirs=net + gap,
        currency=currency,
    )


def _other_cash(connection: Connection, provider: str, at: datetime) -> list[Found]:
    """Cash with a provider that is not ours any more, or never was: nobody's statement says anything about it."""
    held: dict[str, list[str]] = {}
    for owner, currency, amount in connection.execute(text(_OTHER_CASH), {"provider": provider}):
        held.setdefault(owner, []).append(readable(amount, currency))
    return [
        Found(
            compared="provider",
            cause="missing_there",
            subject=f"gateway_cash of {owner}",
            since=at,
            says=f"the books have {', '.join(amounts)} with {owner}, and only {provider} is asked what it holds",
            remedy=f"Ask {owner} for a statement, and find out who booked it: here it is compared with nothing.",
        )
        for owner, amounts in held.items()
    ]


def _balances(
    connection: Connection, reading: Reading, fees: dict[str, int], explained: dict[str, dict[str, int]]
) -> tuple[Balance, ...]:
    """Each currency's equation. Raises ``EquationError``."""
    provider = {"provider": reading.provider}
    cash: dict[str, int] = {row[0]: row[1] for row in connection.execute(text(_CASH), provider)}
    unexplained: dict[str, int] = {row[0]: row[1] for row in connection.execute(text(_UNEXPLAINED), provider)}
    balances = tuple(
        Balance(
            currency=currency,
            theirs=reading.balances.get(currency, 0),
            ours=cash.get(currency, 0),
            fees=fees.get(currency, 0),
            explained=explained.get(currency, {}),
            unexplained=unexplained.get(currency, 0),
        )
        for currency in sorted({*reading.balances, *cash, *fees, *unexplained})
    )
    for one in balances:
        if one.theirs - one.fees - one.ours != sum(one.explained.values()) + one.unexplained:
            raise EquationError(f"the parts do not make the whole: {one}")
    return balances
