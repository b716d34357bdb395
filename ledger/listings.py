"""Lists and look-ups for people who ask over the API: newest first, a page at a time, one party's things if asked so.

Ids sort by time, so a page begins after an id. What a tenant may see, row-level security decides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Engine, text

from ledger.load import ESCROW
from models.escrow import Escrow

Item = TypeVar("Item")
Part = Literal["milestone", "dispute", "payout"]

_ESCROWS: Final = ESCROW.replace("e.id = %(escrow)s", "e.id = ANY(%(escrows)s)")
_ONE: Final = {
    "milestone": "SELECT escrow_id FROM milestone WHERE id = :id AND NOT withdrawn",
    "dispute": "SELECT escrow_id FROM dispute WHERE id = :id",
    "payout": "SELECT escrow_id FROM payout WHERE id = :id",
}


@dataclass(frozen=True)
class Cut:
    """Which part of a list: at most ``limit`` of those after the id ``after``, and only ``party``'s if it is given."""

    limit: int
    after: str | None = None
    party: str | None = None


def escrow_of(engine: Engine, part: Part, identifier: str) -> str | None:
    """The escrow that a milestone, dispute or payout belongs to."""
    with engine.connect() as connection:
        found: str | None = connection.execute(text(_ONE[part]), {"id": identifier}).scalar()
    return found


def escrows(
    engine: Engine,
    tenant: str,
    cut: Cut,
    state: str | None = None,
    buyer: str | None = None,
    seller: str | None = None,
) -> tuple[list[Escrow], bool]:
    """A page of escrows, and whether there are more."""
    found = _ids(
        engine,
        """SELECT id FROM escrow WHERE tenant_id = :tenant AND (CAST(:after AS text) IS NULL OR id < :after)
           AND state = coalesce(:state, state) AND buyer = coalesce(:buyer, buyer)
           AND seller = coalesce(:seller, seller)
           AND (CAST(:party AS text) IS NULL OR :party IN (buyer, seller))
           ORDER BY id DESC LIMIT :limit""",
        tenant=tenant,
        state=state,
        buyer=buyer,
        seller=seller,
        **_cut(cut),
    )
    page, more = cut_off(found, cut.limit)
    return _whole(engine, page), more


def parts(
    engine: Engine, part: Literal["dispute", "payout"], tenant: str, cut: Cut, status: str | None = None
) -> tuple[list[tuple[str, Escrow]], bool]:
    """A page of disputes or payouts, each by its id and with its escrow as it stands, and whether there are more.

    A payout is its seller's; a dispute belongs to both sides.
    """
    whose = "p.party = :party" if part == "payout" else ":party IN (e.buyer, e.seller)"
    found = _ids(
        engine,
        f"""SELECT p.id || ' ' || p.escrow_id FROM {part} p JOIN escrow e ON e.id = p.escrow_id
            WHERE e.tenant_id = :tenant AND (CAST(:after AS text) IS NULL OR p.id < :after)
            AND p.status = coalesce(:status, p.status) AND (CAST(:party AS text) IS NULL OR {whose})
            ORDER BY p.id DESC LIMIT :limit""",  # noqa: S608 - our own names
        tenant=tenant,
        status=status,
        **_cut(cut),
    )
    page, more = cut_off([tuple(one.split(" ")) for one in found], cut.limit)
    known = {one.id: one for one in _whole(engine, [escrow for _, escrow in page])}
    return [(identifier, known[escrow]) for identifier, escrow in page if escrow in known], more


def cut_off(found: Sequence[Item], limit: int) -> tuple[list[Item], bool]:
    """Of ``limit + 1`` rows that were asked for: the page, and whether there are more."""
    return list(found[:limit]), len(found) > limit


def _cut(cut: Cut) -> dict[str, Any]:
    return {"after": cut.after, "party": cut.party, "limit": cut.limit + 1}


def _ids(engine: Engine, query: str, **parameters: Any) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text(query), parameters).scalars())


def _whole(engine: Engine, identifiers: list[str]) -> list[Escrow]:
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(_ESCROWS, {"escrows": identifiers}).scalars().all()
    found = {one.id: one for one in map(Escrow.model_validate_json, rows)}
    return [found[one] for one in identifiers if one in found]
