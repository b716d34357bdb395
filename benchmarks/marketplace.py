"""A marketplace to measure on: one tenant whose platform takes 10 %, a rich buyer, and as many escrows as asked for.

Escrows that wait for an approval are cloned in SQL from one that the books themselves brought there.
"""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Engine, text

from ledger import tenants
from ledger.books import Books
from models import ids
from models.charges import ChargeOrder, ChargeResult
from models.commands import Actor, ApproveMilestone, Create, Fund, MilestoneDraft, StartWork, SubmitMilestone
from models.escrow import Escrow

BUYER = Actor(role="buyer", party="buyer")
AMOUNT = 500_000
_PARTS = (150_000, 200_000, 150_000)
_WEALTH = AMOUNT * 1_000_000
_OUTCOMES = ("release", "refund", "split", "reversal")

# A clone's ids are its number in the place of time and entropy: just as long, and just as good a key.
_CLONE = """
INSERT INTO {table}
SELECT (json_populate_record(original, {replaced})).*
FROM {table} original, generate_series(CAST(:first AS integer), CAST(:last AS integer)) number
WHERE original.{key} = :escrow
"""
_NUMBERED = "'{prefix}' || lpad(number::text, {digits}, '0')"


def open_marketplace(engine: Engine, fee: str) -> str:
    """Make a tenant of its own, so that no two benchmarks share a fee account. Its platform takes that rate."""
    books, tenant = Books(engine), new_id("ten")
    tenants.create_tenant(engine, tenant, "benchmark", "EUR")
    rules = [{"outcome": outcome, "rate": fee} for outcome in _OUTCOMES]
    tenants.put_policy(engine, tenant, "fees", tenants.parse_policy("fees", {"rules": rules}))
    order = ChargeOrder(
        id=new_id("chg"), tenant=tenant, party="buyer", amount=_WEALTH, currency="EUR", payment_method="pm_card_visa"
    )
    books.begin_charge(order)
    books.settle_charge(ChargeResult(id=order.id, status="succeeded", reference="ch_benchmark"), "stripe")
    return tenant


def new_id(prefix: str) -> str:
    """A fresh id."""
    return ids.make(prefix, datetime.now(UTC), secrets.token_bytes(10))


def seller(party: str) -> Actor:
    """A seller as an actor."""
    return Actor(role="seller", party=party)


def create(tenant: str, seller: str) -> Create:
    """The EUR 5,000 website in three milestones."""
    escrow = new_id("esc")
    return Create(
        id=f"{escrow}:create",
        escrow=escrow,
        actor=BUYER,
        tenant=tenant,
        buyer="buyer",
        seller=seller,
        amount=AMOUNT,
        currency="EUR",
        title="Website redesign",
        milestones=tuple(MilestoneDraft(title=f"Part {n}", amount=part) for n, part in enumerate(_PARTS, 1)),
    )


def submitted(books: Books, tenant: str) -> Escrow:
    """An escrow whose first milestone waits for the buyer's approval, brought there by the books."""
    command = create(tenant, "seller")
    escrow = _accepted(books, command)
    name = escrow.id
    _accepted(books, Fund(id=f"{name}:fund", escrow=name, actor=BUYER))
    _accepted(books, StartWork(id=f"{name}:start", escrow=name, actor=seller("seller")))
    milestone = escrow.milestones[0].id
    return _accepted(
        books, SubmitMilestone(id=f"{name}:submit", escrow=name, actor=seller("seller"), milestone=milestone)
    )


def clone(owner: Engine, original: Escrow, numbers: range) -> None:
    """Copy an escrow once per number, each with a seller of its own; the money moves into it through the triggers."""
    escrow = _NUMBERED.format(prefix="esc_", digits=26)
    milestone = "'mil_' || {position} || lpad(number::text, 25, '0')"
    first = milestone.format(position=1)
    deadline, transaction = (_NUMBERED.format(prefix=prefix, digits=26) for prefix in ("dln_", "txn_"))
    replaced = {
        "escrow": f"'id', {escrow}, 'seller', 'seller' || number",
        "milestone": f"'id', {milestone.format(position='original.position')}, 'escrow_id', {escrow}",
        "deadline": f"'id', {deadline}, 'escrow_id', {escrow}, 'milestone', {first}",
        "ledger_transaction": f"'id', {transaction}, 'escrow_id', {escrow}, 'recorded_by', pg_current_xact_id()",
    }
    values = {"first": numbers.start, "last": numbers.stop - 1, "escrow": original.id}
    with owner.begin() as connection:
        for table, fields in replaced.items():
            key = "id" if table == "escrow" else "escrow_id"
            sql = _CLONE.format(table=table, replaced=f"json_build_object({fields})", key=key)
            connection.execute(text(sql), values)
        connection.execute(text(_CLONED_ENTRIES.format(transaction=transaction, escrow=escrow)), values)
        connection.execute(text("ANALYZE"))


_CLONED_ENTRIES = """
INSERT INTO entry
SELECT (json_populate_record(original, json_build_object(
    'id', 'ent_' || (row_number() OVER (PARTITION BY number ORDER BY original.id)) || lpad(number::text, 25, '0'),
    'transaction_id', {transaction},
    'owner', CASE original.owner WHEN :escrow THEN {escrow} ELSE original.owner END))).*
FROM entry original JOIN ledger_transaction t ON t.id = original.transaction_id AND t.escrow_id = :escrow,
     generate_series(CAST(:first AS integer), CAST(:last AS integer)) number
"""


def approvals(numbers: range) -> Iterator[ApproveMilestone]:
    """The buyer's approval of each clone's first milestone."""
    for number in numbers:
        escrow, milestone = f"esc_{number:026}", f"mil_1{number:025}"
        yield ApproveMilestone(id=f"approve-{number:026}", escrow=escrow, actor=BUYER, milestone=milestone)


def _accepted(books: Books, command: Create | Fund | StartWork | SubmitMilestone) -> Escrow:
    outcome = books.apply(command)
    if outcome.escrow is None or outcome.refusal:
        raise RuntimeError(f"{command.name} was refused: {outcome.refusal}")
    return outcome.escrow
