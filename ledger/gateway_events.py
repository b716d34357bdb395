"""Events of payment providers: stored once however often they come, then claimed by whoever applies them.

A claim is a lease and no lock: an event whose worker died is due again when the lease has passed, and applying one
twice is harmless, since every command that follows from it has an id of its own and the rules know its reference.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import Engine, text

from models.charges import charge_of
from models.commands import SYSTEM, Fund
from models.gateway_events import GatewayEvent, ReceivedEvent

# Without naming the conflict it asks for no more than the right to add rows, which is all that the API has.
_RECEIVE: Final = """
INSERT INTO gateway_event (provider, id, type, created, subject, reference, key, details)
VALUES (:provider, :id, :type, :created, :subject, :reference, :key, CAST(:details AS json))
ON CONFLICT DO NOTHING
"""
_CLAIM: Final = """
UPDATE gateway_event SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + :lease
WHERE number IN (SELECT number FROM gateway_event WHERE status = 'pending' AND next_attempt_at <= clock_timestamp()
                 ORDER BY next_attempt_at, number LIMIT :most FOR UPDATE SKIP LOCKED)
RETURNING number
"""
_READ: Final = """
SELECT number, provider, id, type, created, subject, reference, key, details, received_at,
       greatest(attempts - 1, 0) AS attempts
FROM gateway_event WHERE number = :number AND status = 'pending'
"""
_SETTLE: Final = """
UPDATE gateway_event SET status = :status, last_error = :why, applied_at = clock_timestamp()
WHERE number = :number AND status = 'pending'
"""
# From 1 second doubling to an hour.
_PUT_OFF: Final = """
UPDATE gateway_event SET last_error = :why, next_attempt_at = clock_timestamp()
    + least(interval '1 hour', interval '1 second' * 2 ^ least(greatest(attempts - 1, 0), 12))
WHERE number = :number AND status = 'pending'
"""
_CHARGE: Final = "SELECT tenant_id, status, updated_at FROM charge WHERE id = :charge"
# A charge that funds an escrow has an id of the same millisecond as the escrow's, which is in its first ten characters.
_FUNDINGS: Final = """
SELECT e.id AS escrow, a.command_id AS command FROM escrow e JOIN audit a ON a.escrow_id = e.id
WHERE e.tenant_id = :tenant AND e.id BETWEEN :first AND :last AND a.name = 'fund' AND a.outcome = 'accepted'
"""
_PAYOUT: Final = "SELECT escrow_id FROM payout WHERE id = :payout"


@dataclass(frozen=True, slots=True)
class KnownCharge:
    """A charge as far as events need it; ``since`` is when it got its status."""

    id: str
    tenant: str
    status: Literal["pending", "succeeded", "declined"]
    since: datetime


def receive(engine: Engine, provider: str, event: GatewayEvent) -> bool:
    """Store a verified event; False when it was stored before. It is committed when this returns."""
    with engine.begin() as connection:
        values = {**event.model_dump(exclude={"details"}), "provider": provider, "details": json.dumps(event.details)}
        return connection.execute(text(_RECEIVE), values).rowcount == 1


class GatewayEvents:
    """The stored events, for those who apply them, with what the books know of the things they are about."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def claim(self, most: int, lease: timedelta) -> list[int]:
        """Take up to ``most`` events that are due, oldest first; nobody else is given them until the lease is over."""
        with self.engine.begin() as connection:
            found = connection.execute(text(_CLAIM), {"most": most, "lease": lease}).scalars().all()
        return sorted(found)

    def pending(self, number: int) -> ReceivedEvent | None:
        """One event that is still to be applied; None when it has been."""
        with self.engine.connect() as connection:
            row = connection.execute(text(_READ), {"number": number}).mappings().one_or_none()
        return ReceivedEvent.model_validate(dict(row)) if row else None

    def settle(self, number: int, status: Literal["applied", "ignored", "refused"], why: str | None) -> None:
        """Write down what became of an event, once: later words about it change nothing."""
        with self.engine.begin() as connection:
            connection.execute(text(_SETTLE), {"number": number, "status": status, "why": why})

    def put_off(self, number: int, why: str) -> None:
        """Look at it again later, and later each time: after 1 second, 2, 4 … and then every hour."""
        with self.engine.begin() as connection:
            connection.execute(text(_PUT_OFF), {"number": number, "why": why})

    def charge(self, charge: str) -> KnownCharge | None:
        """A charge by its id, which is also its key with the provider."""
        with self.engine.connect() as connection:
            row = connection.execute(text(_CHARGE), {"charge": charge}).one_or_none()
        return KnownCharge(charge, *row) if row else None

    def funded_by(self, charge: KnownCharge) -> str | None:
        """The escrow that a charge has funded; None for a top-up, and as long as the funding is not in the books."""
        moment = charge.id.removeprefix("chg_")[:10]
        bounds = {"first": f"esc_{moment}{'0' * 16}", "last": f"esc_{moment}{'z' * 16}"}
        with self.engine.connect() as connection:
            rows = connection.execute(text(_FUNDINGS), {"tenant": charge.tenant, **bounds}).all()
        return next((escrow for escrow, command in rows if _charge_of(escrow, command) == charge.id), None)

    def escrow_of_payout(self, payout: str) -> str | None:
        """The escrow that a payout belongs to."""
        with self.engine.connect() as connection:
            return connection.execute(text(_PAYOUT), {"payout": payout}).scalar()


def _charge_of(escrow: str, command: str) -> str:
    return charge_of(Fund(id=command, escrow=escrow, actor=SYSTEM))
