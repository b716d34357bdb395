"""Parties: what is known of them, and what a screening needs: what was found out, which payouts that lets go."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from ledger import personal
from ledger.keyring import Keyring
from models.errors import ErrorCode, RefusedError
from models.facts import KycStatus
from models.screening import HeldPayout, LiftedPage, Screening, ScreeningResult, ScreenParty, Subject, block_after

PAGE: Final = 500

_PARTY: Final = """
SELECT p.id, p.kyc_status, p.payout_destination, p.blocked_because, p.invalid_destination, p.created_at, d.data
FROM party p LEFT JOIN personal_data d ON d.tenant_id = p.tenant_id AND d.party = p.id
WHERE p.tenant_id = :tenant
"""


@dataclass(frozen=True)
class PartyView:
    """What is known of a party. What is personal is not part of its ``repr``.

    ``invalid_destination`` is an account that money came back from; it may be the ``payout_destination``.
    """

    id: str
    name: str | None = field(repr=False)
    email: str | None = field(repr=False)
    language: str | None = field(repr=False)
    kyc_status: KycStatus
    payout_destination: str | None
    blocked_because: str | None = field(repr=False)
    invalid_destination: str | None
    created_at: datetime

    @property
    def blocked(self) -> bool:
        """Whether its money is frozen."""
        return self.blocked_because is not None


def party(engine: Engine, keys: Keyring, tenant: str, of_id: str) -> PartyView | None:
    """A party of a tenant; None for one that nobody has told of. Raises ``personal.UnreadableError``."""
    with engine.connect() as connection:
        row = connection.execute(text(f"{_PARTY} AND p.id = :id"), {"tenant": tenant, "id": of_id}).first()
    return None if row is None else _view(keys, tenant, row)


def list_parties(engine: Engine, keys: Keyring, tenant: str, limit: int, after: str | None = None) -> list[PartyView]:
    """Parties of a tenant that somebody told of, the newest first, at most ``limit``; ``after`` is the last one's id.

    Raises ``personal.UnreadableError``.
    """
    older = """AND (p.created_at, p.id)
                    < (SELECT l.created_at, l.id FROM party l WHERE l.tenant_id = :tenant AND l.id = :after)"""
    with engine.connect() as connection:
        rows = connection.execute(
            text(f"{_PARTY} {older if after else ''} ORDER BY p.created_at DESC, p.id DESC LIMIT :limit"),
            {"tenant": tenant, "limit": limit} | ({"after": after} if after else {}),
        ).all()
    return [_view(keys, tenant, row) for row in rows]


def require_tenant(engine: Engine, tenant: str) -> None:
    """Raise ``RefusedError`` (not_found) for an unknown tenant."""
    with engine.connect() as connection:
        if connection.execute(text("SELECT FROM tenant WHERE id = :tenant"), {"tenant": tenant}).first() is None:
            raise _no_tenant(tenant)


def subject(engine: Engine, keys: Keyring, of: ScreenParty) -> Subject:
    """What is known of a party; one that no one has told of yet is known by its id alone.

    Raises ``RefusedError`` (not_found) for an unknown tenant, ``personal.UnreadableError``.
    """
    with engine.connect() as connection:
        row = connection.execute(
            text("""SELECT d.data, coalesce(p.kyc_status, 'none') AS kyc_status
                    FROM tenant t LEFT JOIN party p ON p.tenant_id = t.id AND p.id = :party
                    LEFT JOIN personal_data d ON d.tenant_id = t.id AND d.party = :party WHERE t.id = :tenant"""),
            {"tenant": of.tenant, "party": of.party},
        ).first()
    if row is None:
        raise _no_tenant(of.tenant)
    known = personal.opened(keys, of.tenant, of.party, row.data)
    return Subject(of.tenant, of.party, known.name, known.email, row.kyc_status)


def record_screening(engine: Engine, of: ScreenParty, provider: str, screening: Screening) -> ScreeningResult:
    """Write down what a provider answered, by the rule of ``models.screening.block_after``; answers what then holds.

    When it returns, every decision that was made of what was known before is in the books, with what it holds.
    """
    with engine.begin() as connection:
        result = _record(connection, of, provider, screening)
    _wait_for_earlier_decisions(engine, of)
    return result


def lifted_payouts(engine: Engine, page: LiftedPage) -> list[HeldPayout]:
    """Payouts that compliance holds for a reason which is not the party's any more, by id, at most ``PAGE``.

    A payout that nobody has asked for under trigger ``manual`` is none of them: asking is what would send it.
    """
    with engine.connect() as connection:
        rows = connection.execute(
            text("""SELECT p.id, p.escrow_id
                    FROM payout p JOIN escrow e ON e.id = p.escrow_id
                    JOIN party known ON known.tenant_id = e.tenant_id AND known.id = p.party
                    WHERE e.tenant_id = :tenant AND p.party = :party AND p.id > :after AND p.status = 'due'
                        AND (p.hold = 'blocked' AND known.blocked_because IS NULL
                             OR p.hold = 'kyc' AND (known.blocked_because IS NOT NULL OR known.kyc_status = 'verified'))
                        AND (p.requested OR coalesce(e.release -> 'payout' ->> 'trigger', 'event') <> 'manual')
                    ORDER BY p.id LIMIT :page"""),
            {"tenant": page.tenant, "party": page.party, "after": page.after, "page": PAGE},
        ).all()
    return [HeldPayout(payout=row.id, escrow=row.escrow_id) for row in rows]


def _no_tenant(tenant: str) -> RefusedError:
    return RefusedError(ErrorCode.NOT_FOUND, f"there is no tenant {tenant}")


def _view(keys: Keyring, tenant: str, row: Any) -> PartyView:
    known = personal.opened(keys, tenant, row.id, row.data)
    return PartyView(
        id=row.id,
        name=known.name,
        email=known.email,
        language=known.language,
        kyc_status=row.kyc_status,
        payout_destination=row.payout_destination,
        blocked_because=row.blocked_because,
        invalid_destination=row.invalid_destination,
        created_at=row.created_at,
    )


def _record(connection: Connection, of: ScreenParty, provider: str, screening: Screening) -> ScreeningResult:
    key = {"tenant": of.tenant, "party": of.party}
    connection.execute(
        text("INSERT INTO party (tenant_id, id) VALUES (:tenant, :party) ON CONFLICT (tenant_id, id) DO NOTHING"), key
    )
    # Locked, so that a block which somebody writes by hand at this moment is either seen or comes after.
    known = connection.execute(
        text("""SELECT kyc_status, blocked_because FROM party WHERE tenant_id = :tenant AND id = :party FOR UPDATE"""),
        key,
    ).one()
    status = screening.kyc_status or known.kyc_status
    because = block_after(known.blocked_because, provider, screening)
    if (status, because) != tuple(known):
        connection.execute(
            text("""UPDATE party SET kyc_status = :status, blocked_because = :because
                    WHERE tenant_id = :tenant AND id = :party"""),
            key | {"status": status, "because": because},
        )
    return ScreeningResult(provider=provider, kyc_status=status, blocked=because is not None)


def _wait_for_earlier_decisions(engine: Engine, of: ScreenParty) -> None:
    """A release that had read the party as it was may hold its payout only now: without this, nobody would tell it.

    Decisions about a seller keep a lock per currency. One after the other, since whoever holds several may deadlock.
    """
    key = {"tenant": of.tenant, "party": of.party}
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT DISTINCT currency FROM escrow WHERE tenant_id = :tenant AND seller = :party"), key
        )
        currencies = found.scalars().all()
    for currency in currencies:
        with engine.begin() as connection:
            connection.execute(text("SELECT lock_parties(:tenant, :currency, :party)"), key | {"currency": currency})
