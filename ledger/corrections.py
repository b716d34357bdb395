"""Corrections: what a difference moved, as new balanced entries between gateway_cash and suspense. Source: decision 20.

The only writer of suspense, which PostgreSQL holds (migration 0012). One operator proposes, and above a limit another
one approves; the limit is on all that is booked for one thing without a second person, in however many parts. What is
booked, the correction and the difference that it closes are one transaction. Everything here can be asked for again:
what was done is answered, nothing is done twice. Operators' names are claims, as in every command.

What was booked counts as ours from then on: whoever compares adds booked corrections to what the books have of the same
kind and subject, or the next round would find the same difference again.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Engine, RowMapping, text

from ledger.both_sides import moved_since
from ledger.load import Connection as Driver
from ledger.write import entry_rows, insert_rows
from models import ids, postings
from models.currencies import EXPONENTS
from models.errors import ErrorCode, RefusedError
from models.fields import Document, PartyId, TenantId, Text
from models.money import Money
from models.reconciliation import Cause, Correction, Difference

_COLUMNS: Final = """
    id, difference_id AS difference, tenant_id AS tenant, amount, currency, ours, theirs, reason, needs_approval,
    proposed_by, proposed_at, status, decided_by, decided_at, decided_why, transaction_id AS transaction"""
_LOCK_DIFFERENCE: Final = """
SELECT id, provider, compared, cause, kind, subject, tenant_id AS tenant, escrow_id AS escrow, ours, theirs, currency,
    since, says, remedy, first_seen, last_seen, status, closed_at, closed_why
FROM difference WHERE id = :id FOR UPDATE
"""
_ONE: Final = f"SELECT {_COLUMNS} FROM correction WHERE id = :id"  # noqa: S608 - our own names
_LOCK: Final = f"SELECT {_COLUMNS} FROM correction WHERE id = :id FOR UPDATE"  # noqa: S608
_STANDING: Final = f"SELECT {_COLUMNS} FROM correction WHERE difference_id = :id AND status <> 'rejected'"  # noqa: S608
_OF: Final = f"SELECT {_COLUMNS} FROM correction WHERE difference_id = :id ORDER BY id"  # noqa: S608
_WAITING: Final = f"SELECT {_COLUMNS} FROM correction WHERE status = 'proposed' ORDER BY id"  # noqa: S608
_PROPOSE: Final = """
INSERT INTO correction (id, difference_id, tenant_id, amount, currency, ours, theirs, reason, needs_approval,
    proposed_by)
VALUES (:id, :difference, :tenant, :amount, :currency, :ours, :theirs, :reason, :needs_approval, :operator)
"""
_DECIDE: Final = """
UPDATE correction SET status = :status, decided_by = :operator, decided_at = clock_timestamp(), decided_why = :why,
    transaction_id = :transaction
WHERE id = :id
"""
_CLOSE: Final = """
UPDATE difference SET status = 'corrected', closed_at = clock_timestamp(), closed_why = :why WHERE id = :id
"""
# All of one thing that was booked by one person alone, in whichever direction. Only one difference of a thing is open
# at a time (difference_once), and it is locked here: nobody else adds to this sum meanwhile.
_ALONE: Final = """
SELECT coalesce(sum(abs(c.amount)), 0)::bigint FROM correction c JOIN difference d ON d.id = c.difference_id
WHERE c.status = 'booked' AND NOT c.needs_approval
    AND (d.provider, d.kind, d.subject, d.currency) = (:provider, :kind, :subject, :currency)
"""
# Whether the provider's word about the same thing is still to be applied, or a round is still to ask for it: that is,
# the newest line of an operation of ours was not looked into since it is known, and no look led to a person.
_PROMISED: Final = """
WITH line AS (SELECT * FROM provider_line WHERE (provider, kind, subject) = (:provider, :kind, :subject)),
newest AS (
    SELECT * FROM line WHERE source IS NOT NULL
        AND (EXISTS (SELECT FROM charge WHERE id = line.key)
             OR EXISTS (SELECT FROM payout WHERE id = split_part(line.key, ':', 1)))
    ORDER BY created_at DESC, id LIMIT 1)
SELECT EXISTS (SELECT FROM gateway_event WHERE provider = :provider AND status = 'pending'
        AND (reference = :subject OR reference IN (SELECT source FROM line)
             OR key = :subject OR key IN (SELECT key FROM line))) AS told,
    EXISTS (SELECT FROM newest l WHERE NOT EXISTS (SELECT FROM gateway_event g
        WHERE g.provider = l.provider AND g.reference = l.source AND g.id LIKE 'reconciliation:%'
            AND (g.status = 'refused' OR g.status <> 'pending' AND g.received_at > l.read_at))) AS unasked
"""
_DROP: Final = """
UPDATE correction c SET status = 'rejected', decided_by = 'reconciliation', decided_at = clock_timestamp(),
    decided_why = CASE d.status WHEN 'open' THEN 'the difference is not what it was proposed for any more'
        ELSE 'the difference is ' || d.status || coalesce(': ' || d.closed_why, '') END
FROM difference d
WHERE d.id = c.difference_id AND c.status = 'proposed'
    AND (d.status <> 'open' OR (d.ours, d.theirs, d.currency) IS DISTINCT FROM (c.ours, c.theirs, c.currency))
"""

# What comes to agree by itself, and would be counted twice if it were corrected as well.
_PATIENCE: Final[dict[Cause, str]] = {
    "late": "the other side may follow, so wait; the next rounds say what became of it",
    "unknown_outcome": "its workflow asks the provider for as long as it takes, and books what it learns: booked here "
    "as well it would count twice. If nothing asks any more, `holdfast repair` brings the workflow back",
}
_UNSOUND: Final = (
    "books that contradict themselves were changed past PostgreSQL's guards: stop, run `holdfast verify` and find out "
    "who could write there"
)


class Proposal(Document):
    """What an operator wants booked. ``amount`` is by how much gateway_cash rises, in minor units of the difference's
    currency; None is all of the difference. ``tenant`` is whose books it goes into, where the difference is of none.
    """

    difference: str
    tenant: TenantId | None = None
    amount: int | None = None
    reason: Text
    operator: PartyId


class Verdict(Document):
    """What an operator says of a correction that somebody else proposed."""

    correction: str
    operator: PartyId
    why: Text | None = None


def propose(engine: Engine, proposal: Proposal, limit: int) -> Correction:
    """Write a correction down. At or below ``limit`` minor units, with all that was booked for the same thing without
    a second person before, it is booked at once; above it another operator has to approve it.

    The same proposal again answers what became of it. Raises ``RefusedError``: not_found, invalid_transition (the
    difference is closed), invalid_command (nothing that a correction could mend, another amount or tenant than there
    can be), already_exists (another correction is proposed).
    """
    with engine.begin() as connection:
        difference = _difference(connection, proposal.difference)
        known = connection.execute(text(_STANDING), {"id": proposal.difference}).mappings().first()
        if known is not None:
            return _repeated(Correction(**known), proposal)
        _see_that_it_can_be_corrected(connection, difference)
        amount = _amount(difference, proposal.amount)
        needs_approval = _alone(connection, difference) + abs(amount) > limit
        made = _id()
        given = {
            "id": made,
            "difference": difference.id,
            "tenant": _tenant(connection, difference, proposal.tenant),
            "amount": amount,
            "currency": difference.currency,
            "ours": difference.ours,
            "theirs": difference.theirs,
            "reason": proposal.reason,
            "needs_approval": needs_approval,
            "operator": proposal.operator,
        }
        connection.execute(text(_PROPOSE), given)
        if not needs_approval:
            alone = Verdict(correction=made, operator=proposal.operator)
            _book(connection, difference, _locked(connection, made), alone)
        return _locked(connection, made)


def approve(engine: Engine, verdict: Verdict) -> Correction:
    """Book a correction that another operator proposed. One that is booked already is answered as it is.

    Raises ``RefusedError``: not_found, forbidden (the same operator), invalid_transition (it was rejected, or the
    difference is closed), conflict (the difference is not what was proposed any more).
    """
    with engine.begin() as connection:
        difference, correction = _both(connection, verdict.correction)
        if correction.status == "booked":
            return correction
        if correction.status == "rejected":
            raise _decided(correction)
        if correction.needs_approval and correction.proposed_by.lower() == verdict.operator.lower():
            raise RefusedError(
                ErrorCode.FORBIDDEN,
                f"{verdict.operator} proposed {correction.id}: somebody else has to approve it",
                proposed_by=correction.proposed_by,
            )
        _see_that_it_can_be_corrected(connection, difference)
        before = (correction.ours, correction.theirs, correction.currency)
        if (difference.ours, difference.theirs, difference.currency) != before:
            raise RefusedError(
                ErrorCode.CONFLICT,
                f"{difference.id} is not what {correction.id} was proposed for: ours was {correction.ours} and theirs "
                f"{correction.theirs}, now they are {difference.ours} and {difference.theirs}. Reject it, and propose "
                "another one",
                ours=difference.ours,
                theirs=difference.theirs,
            )
        _book(connection, difference, correction, verdict)
        return _locked(connection, correction.id)


def reject(engine: Engine, verdict: Verdict) -> Correction:
    """Close a correction without booking it; whoever proposed it may do so as well. Another can be proposed then.

    Raises ``RefusedError``: not_found, invalid_transition (it is booked).
    """
    with engine.begin() as connection:
        _, correction = _both(connection, verdict.correction)
        if correction.status == "booked":
            raise _decided(correction)
        if correction.status == "proposed":
            given = {"id": correction.id, "status": "rejected", "operator": verdict.operator, "why": verdict.why}
            connection.execute(text(_DECIDE), given | {"transaction": None})
        return _locked(connection, correction.id)


def correction(engine: Engine, identifier: str) -> Correction | None:
    """One correction, as it stands."""
    return next(iter(_corrections(engine, _ONE, id=identifier)), None)


def of_difference(engine: Engine, difference: str) -> list[Correction]:
    """The corrections that were proposed for a difference, the oldest first."""
    return _corrections(engine, _OF, id=difference)


def waiting(engine: Engine) -> list[Correction]:
    """The corrections that wait for another operator, the oldest first."""
    return _corrections(engine, _WAITING)


def booked_alone(engine: Engine, difference: Difference) -> int:
    """What was booked for the same thing without a second person, in minor units: it counts towards the limit."""
    with engine.connect() as connection:
        return _alone(connection, difference)


def drop_superseded(connection: Connection) -> int:
    """Reject what waits for an approval that nobody can give any more, since the difference was closed or changed.

    In whose name: ``reconciliation``. Answers how many those were. For the end of a round, in its transaction.
    """
    return connection.execute(text(_DROP)).rowcount


def _corrections(engine: Engine, query: str, **parameters: Any) -> list[Correction]:
    with engine.connect() as connection:
        rows: Sequence[RowMapping] = connection.execute(text(query), parameters).mappings().all()
    return [Correction(**row) for row in rows]


def _difference(connection: Connection, identifier: str) -> Difference:
    """The difference, locked: rounds that heal it and rivals that correct it wait."""
    row = connection.execute(text(_LOCK_DIFFERENCE), {"id": identifier}).mappings().first()
    if row is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no difference {identifier}")
    return Difference(**row)


def _both(connection: Connection, identifier: str) -> tuple[Difference, Correction]:
    """The difference of a correction and then the correction, locked in the order that everybody keeps to."""
    of = connection.execute(text("SELECT difference_id FROM correction WHERE id = :id"), {"id": identifier}).scalar()
    if of is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no correction {identifier}")
    return _difference(connection, of), _locked(connection, identifier)


def _locked(connection: Connection, identifier: str) -> Correction:
    return Correction(**connection.execute(text(_LOCK), {"id": identifier}).mappings().one())


def _repeated(known: Correction, proposal: Proposal) -> Correction:
    same = (
        known.proposed_by == proposal.operator
        and known.reason == proposal.reason
        and proposal.amount in {None, known.amount}
        and proposal.tenant in {None, known.tenant}
    )
    if same:
        return known
    does = "waits for another operator: approve or reject it" if known.status == "proposed" else "is booked"
    raise RefusedError(
        ErrorCode.ALREADY_EXISTS,
        f"{known.id} of {known.proposed_by} for {known.difference} {does}",
        correction=known.id,
        status=known.status,
    )


def _see_that_it_can_be_corrected(connection: Connection, one: Difference) -> None:
    """Refuse whatever is closed, comes to agree by itself, or is no movement that is in one of two books only."""
    if one.status != "open":
        because = f": {one.closed_why}" if one.closed_why else ""
        raise RefusedError(ErrorCode.INVALID_TRANSITION, f"{one.id} is {one.status}{because}", status=one.status)
    instead = _UNSOUND if one.compared == "books" else _PATIENCE.get(one.cause)
    movement = one.compared == "provider" and one.kind is not None and one.currency in EXPONENTS and _by(one) != 0
    if instead is None and (one.cause == "misdirected" or not movement):
        instead = one.remedy
    if instead:
        raise RefusedError(
            ErrorCode.INVALID_COMMAND, f"{one.id} is no case for a correction: {instead}", cause=one.cause
        )
    promised = connection.execute(text(_PROMISED), _thing(one)).one()
    if promised.told:
        raise RefusedError(
            ErrorCode.CONFLICT,
            f"what {one.provider} tells about {one.subject} is being looked into: what is certain is booked by itself. "
            "Wait till it is, then reconcile again",
        )
    if one.cause == "missing_here" and promised.unasked:
        raise RefusedError(
            ErrorCode.CONFLICT,
            f"{one.id} may heal by itself: {one.provider} was not asked about it yet. Run a round first, `holdfast "
            "reconcile`, which has it looked into, each thing at most once a day",
        )
    if moved_since(connection, one):
        raise RefusedError(
            ErrorCode.CONFLICT,
            f"our books moved {one.subject} after {one.id} was last compared, or are about to: reconcile again first",
        )


def _alone(connection: Connection, one: Difference) -> int:
    return int(connection.execute(text(_ALONE), _thing(one)).scalar_one())


def _thing(one: Difference) -> dict[str, str | None]:
    """What a difference is about, which may differ again when this difference is closed."""
    return {"provider": one.provider, "kind": one.kind, "subject": one.subject, "currency": one.currency}


def _by(one: Difference) -> int:
    """By how much gateway_cash has to rise for the two sides to agree."""
    return (one.theirs or 0) - (one.ours or 0)


def _amount(one: Difference, wanted: int | None) -> int:
    """What is booked: all of the difference, or a part of it. Never more, and never the other way."""
    whole = _by(one)
    if wanted is None:
        return whole
    if wanted == 0 or (wanted > 0) != (whole > 0) or abs(wanted) > abs(whole):
        raise RefusedError(
            ErrorCode.INVALID_COMMAND,
            f"{one.id} differs by {Money(whole, one.currency or '')}: a correction is that or a part of it",
            difference=whole,
            amount=wanted,
        )
    return wanted


def _tenant(connection: Connection, one: Difference, named: str | None) -> str:
    tenant = one.tenant or named
    if tenant is None:
        raise RefusedError(
            ErrorCode.INVALID_COMMAND,
            f"{one.id} is about no tenant that we know of: say in whose books it is booked, with --tenant ten_…",
        )
    if named not in {None, tenant}:
        raise RefusedError(ErrorCode.INVALID_COMMAND, f"{one.id} is about {tenant}, not about {named}", tenant=tenant)
    if connection.execute(text("SELECT FROM tenant WHERE id = :id"), {"id": tenant}).first() is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no tenant {tenant}")
    return tenant


def _book(connection: Connection, difference: Difference, correction: Correction, verdict: Verdict) -> None:
    """Entries, correction and difference: all of them at the end of the transaction, or none."""
    ahead = connection.execute(
        text("SELECT clock_offset FROM tenant WHERE id = :id"), {"id": correction.tenant}
    ).scalar_one()
    now = datetime.now(UTC) + timedelta(seconds=ahead)
    posted = postings.correction(
        difference.provider, Money(abs(correction.amount), correction.currency), arrived=correction.amount > 0
    )
    transaction = ids.derive("txn", ids.made_at(correction.id), correction.id)
    header = {
        "id": transaction,
        "tenant_id": correction.tenant,
        "command_id": correction.id,
        "memo": posted.memo,
        "posted_at": now,
    }
    entries = entry_rows(correction.tenant, transaction, now, posted.postings)
    driver: Driver = connection.connection.driver_connection  # type: ignore[assignment]
    insert_rows(driver, {"ledger_transaction": [header], "entry": entries})
    decided = {"id": correction.id, "status": "booked", "operator": verdict.operator, "why": verdict.why}
    connection.execute(text(_DECIDE), decided | {"transaction": transaction})
    connection.execute(text(_CLOSE), {"id": difference.id, "why": f"{correction.id}: {correction.reason}"})


def _decided(correction: Correction) -> RefusedError:
    by = f" by {correction.decided_by}" + (f": {correction.decided_why}" if correction.decided_why else "")
    return RefusedError(
        ErrorCode.INVALID_TRANSITION, f"{correction.id} was {correction.status}{by}", status=correction.status
    )


def _id() -> str:
    return ids.make("cor", datetime.now(UTC), secrets.token_bytes(10))
