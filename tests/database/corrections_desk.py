"""The operators of one market who correct what differs; the differences are written down as rounds would."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import text

from ledger import corrections
from ledger.corrections import Proposal, Verdict
from models.reconciliation import Correction
from tests.builders import new_id
from tests.market import GATEWAY, Market
from tests.telling import run

LIMIT: Final = 5000
_MISSING_HERE: Final = {
    "provider": GATEWAY, "compared": "provider", "cause": "missing_here", "kind": "charge", "ours": None,
    "theirs": 7000, "currency": "EUR", "says": "a charge of 70.00 EUR", "remedy": "book it",
}  # fmt: skip


@dataclass(frozen=True)
class Desk:
    """The operators of one market: a limit of 50.00 for one alone."""

    market: Market
    made: list[str] = field(default_factory=list)

    def differs(self, **said: Any) -> str:
        """An open difference, as a round would have written it down."""
        row = _MISSING_HERE | {"id": new_id("dif"), "subject": new_id("chg"), "tenant_id": self.market.tenant} | said
        columns = ", ".join(row)
        places = ", ".join(f":{column}" for column in row)
        with self.market.engine.begin() as connection:
            connection.execute(text(f"INSERT INTO difference (since, {columns}) VALUES (now(), {places})"), row)
        self.made.append(str(row["id"]))
        return self.made[-1]

    def propose(self, difference: str, operator: str = "olga", **said: Any) -> Correction:
        """Have a correction proposed."""
        given = {"difference": difference, "reason": "A charge that nobody told us of", "operator": operator} | said
        return corrections.propose(self.market.engine, Proposal(**given), LIMIT)

    def approve(self, correction: Correction, operator: str = "piet") -> Correction:
        """Have it approved."""
        return corrections.approve(self.market.engine, Verdict(correction=correction.id, operator=operator))

    def reject(self, correction: Correction, operator: str = "piet") -> Correction:
        """Have it rejected."""
        verdict = Verdict(correction=correction.id, operator=operator, why="It came after all")
        return corrections.reject(self.market.engine, verdict)

    def suspense(self) -> int:
        """What stands in suspense."""
        return self.market.balance("suspense", GATEWAY)

    def status(self, difference: str) -> str:
        """What became of a difference."""
        return str(self.market.scalar("SELECT status FROM difference WHERE id = :id", id=difference))

    def bookings(self) -> int:
        """How many corrections are in the books."""
        query = "SELECT count(*) FROM ledger_transaction WHERE tenant_id = :tenant AND memo = 'correction'"
        return int(self.market.scalar(query))


@contextmanager
def desks(market: Market) -> Iterator[Desk]:
    """A desk with nothing left open when it is over: others count what is open."""
    desk = Desk(market)
    yield desk
    market.audit()
    closing_time = (
        "UPDATE difference SET status = 'healed', closed_at = now() WHERE id = ANY(:made) AND status = 'open'",
        """UPDATE correction SET status = 'rejected', decided_by = 'the end', decided_at = now()
           WHERE difference_id = ANY(:made) AND status = 'proposed'""",
    )
    for statement in closing_time:
        run(market.engine, statement, made=desk.made)
