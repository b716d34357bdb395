"""The audit's hash chain: whoever tampers with a row, a superuser included, is found, at the first broken row."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from ledger.audit import GENESIS, story, verify
from models.commands import ApproveMilestone, Fund
from models.escrow import Escrow
from models.states import State
from tests.builders import a_create, new_id
from tests.database.audit_rows import INSERT, rows_of
from tests.market import Market
from tests.servers import Connection, Servers

# create, fund, start_work, submit_milestone, approve_milestone, and a fund that is refused.
ROWS = 6
FOUR = (125000,) * 4  # one more than the policy allows
# Another value for every column of the third row, down to what only a machine would notice.
OTHERWISE = {
    "id": "'aud_' || repeat('0', 26)",
    "tenant_id": "(SELECT id FROM tenant WHERE id <> audit.tenant_id LIMIT 1)",
    "command_id": "command_id || ' '",
    "name": "'cancel'",
    "actor_role": "'operator'",
    "actor_party": "NULL",
    "ip": "'192.0.2.1'",
    "user_agent": "''",
    "details": "(details::text || ' ')::json",
    "outcome": "'forbidden'",
    "message": "''",
    "before_version": "before_version - 1",
    "after_version": "after_version + 1",
    "received_at": "received_at + interval '1 microsecond'",
    "recorded_at": "recorded_at - interval '1 microsecond'",
    "hash": "repeat('a', 64)",
}
MONEY = {
    "an entry's amount": "UPDATE entry SET amount = amount + 1 WHERE id IN (SELECT e.id FROM entry e JOIN ledger_transaction t ON t.id = e.transaction_id WHERE t.escrow_id = %(escrow)s AND e.account_kind = 'fee_revenue')",  # noqa: E501
    "both sides of an entry": "UPDATE entry SET amount = amount + 1 WHERE transaction_id = (SELECT id FROM ledger_transaction WHERE escrow_id = %(escrow)s AND memo = 'fund')",  # noqa: E501
    "an entry's owner": "UPDATE entry SET owner = 'mallory' WHERE owner = 'bob' AND tenant_id = %(tenant)s",
    "a transaction's entries": "DELETE FROM entry WHERE transaction_id IN (SELECT id FROM ledger_transaction WHERE escrow_id = %(escrow)s)",  # noqa: E501
    "a balance": "UPDATE account SET balance = balance + 1 WHERE owner = 'bob' AND tenant_id = %(tenant)s",
    "an account": "DELETE FROM account WHERE owner = 'bob' AND tenant_id = %(tenant)s",
    "an invented account": "INSERT INTO account VALUES (%(tenant)s, 'wallet', 'mallory', 'EUR', 1)",
    "an escrow's counters": "UPDATE escrow SET held = held - 1, released = released + 1 WHERE id = %(escrow)s",
    "a settlement's division": "UPDATE settlement SET platform_fee = platform_fee - 1, seller_payout = seller_payout + 1 WHERE escrow_id = %(escrow)s",  # noqa: E501
    "a settlement": "DELETE FROM settlement WHERE escrow_id = %(escrow)s",
}


@pytest.fixture
def victim(servers: Servers) -> Market:
    """A market whose books are damaged: nobody checks them at the end."""
    Market(servers.engine, purse=0)  # there is another tenant
    return Market(servers.engine)


@pytest.fixture
def superuser(servers: Servers) -> Iterator[Connection]:
    """A superuser who has switched every trigger and foreign key off."""
    with closing(servers.superuser()) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection


def a_story(market: Market) -> Escrow:
    """An escrow whose audit has six rows, the last of a refusal."""
    escrow = market.do(ApproveMilestone, market.at(State.MILESTONE_PENDING))
    market.refused(Fund, escrow)
    return escrow


def first(market: Market, escrow: Escrow) -> tuple[str | None, int | None, str]:
    """The first finding in the market's books: escrow, position, kind."""
    found = verify(market.engine, market.tenant)
    assert not found.whole
    assert found.findings == verify(market.engine, escrow=escrow.id).findings
    finding = found.findings[0]
    return finding.escrow, finding.position, finding.kind


def rehash(connection: Connection, escrow: str, *positions: int) -> None:
    """What a superuser who knows this file would do: make the hashes of these rows fit their content."""
    for position in positions:
        connection.execute(
            "UPDATE audit SET hash = audit_hash(audit) WHERE escrow_id = %s AND position = %s", (escrow, position)
        )
        connection.execute(
            "UPDATE audit SET previous = (SELECT hash FROM audit b WHERE b.escrow_id = audit.escrow_id"
            " AND b.position = audit.position - 1) WHERE escrow_id = %s AND position = %s",
            (escrow, position + 1),
        )


def test_a_chain_is_whole_and_says_what_happened(market: Market, app: Connection) -> None:
    """Positions count from one, each row names the one before it, and the money checks out too."""
    escrow = a_story(market)
    rows = rows_of(app, escrow.id)
    assert [row.position for row in rows] == list(range(1, ROWS + 1))
    assert [row.previous for row in rows] == [GENESIS, *(row.hash for row in rows[:-1])]
    found = verify(market.engine, market.tenant)
    assert (found.whole, found.rows, found.escrows, found.findings) == (True, ROWS, 1, [])


@pytest.mark.parametrize("column", OTHERWISE)
def test_a_change_of_any_column_is_found(victim: Market, superuser: Connection, column: str) -> None:
    """Every column is hashed: one blank, one microsecond, NULL turned into an empty string."""
    escrow = a_story(victim)
    change = f"UPDATE audit SET {column} = {OTHERWISE[column]} WHERE escrow_id = %s AND position = 3"
    assert superuser.execute(change.encode(), (escrow.id,)).rowcount == 1
    finding = verify(victim.engine, escrow=escrow.id).findings[0]
    assert (finding.escrow, finding.position, finding.kind) == (escrow.id, 3, "changed")


def test_every_column_is_tried(app: Connection) -> None:
    """A column that somebody adds is hashed, or this test asks why not."""
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'audit'"
    assert {name for (name,) in app.execute(query).fetchall()} == {*OTHERWISE, "escrow_id", "position", "previous"}


@pytest.mark.parametrize(
    ("removed", "position"), [("= 1", 2), ("= 3", 4), ("IN (3, 4)", 5), ("= 6", 6), ("IN (5, 6)", 5), ("> 0", 1)]
)
def test_a_missing_row_is_found_wherever_it_was(
    victim: Market, superuser: Connection, removed: str, position: int
) -> None:
    """The row after the gap is named; a cut-off end is found because the rest of the books knows of more."""
    escrow = a_story(victim)
    superuser.execute(f"DELETE FROM audit WHERE escrow_id = %s AND position {removed}".encode(), (escrow.id,))
    assert first(victim, escrow) == (escrow.id, position, "missing")


def test_rows_that_changed_places_are_found(victim: Market, superuser: Connection) -> None:
    """The first of them is named, with the place where it was recorded."""
    escrow = a_story(victim)
    for old, new in ((3, -1), (4, 3), (-1, 4)):
        superuser.execute(
            "UPDATE audit SET position = %s WHERE escrow_id = %s AND position = %s", (new, escrow.id, old)
        )
    assert first(victim, escrow) == (escrow.id, 3, "reordered")
    assert "recorded at position 4" in verify(victim.engine, victim.tenant).findings[0].says


def test_a_row_moved_to_another_escrow_is_missing_here_and_found_there(victim: Market, superuser: Connection) -> None:
    """It fits into neither chain."""
    escrow, other = a_story(victim), victim.create()
    move = "UPDATE audit SET escrow_id = %s, position = 2 WHERE escrow_id = %s AND position = 3"
    superuser.execute(move, (other.id, escrow.id))
    found = verify(victim.engine, victim.tenant).findings
    assert {(one.escrow, one.position, one.kind) for one in found} >= {
        (escrow.id, 4, "missing"),
        (other.id, 2, "changed"),
    }


def test_a_link_that_was_changed_is_found(victim: Market, superuser: Connection) -> None:
    """The row's own content is sound, so the link is named."""
    escrow = a_story(victim)
    superuser.execute("UPDATE audit SET previous = hash WHERE escrow_id = %s AND position = 4", (escrow.id,))
    assert first(victim, escrow) == (escrow.id, 4, "wrong previous")


def test_a_row_rewritten_with_its_hash_breaks_the_link_of_the_next(victim: Market, superuser: Connection) -> None:
    """Whoever can compute a hash still has to forge every row after it."""
    escrow = a_story(victim)
    superuser.execute("UPDATE audit SET details = '{}' WHERE escrow_id = %s AND position = 2", (escrow.id,))
    superuser.execute("UPDATE audit SET hash = audit_hash(audit) WHERE escrow_id = %s AND position = 2", (escrow.id,))
    assert first(victim, escrow) == (escrow.id, 3, "wrong previous")


def test_a_chain_forged_to_its_end_contradicts_the_rest_of_the_books(victim: Market, superuser: Connection) -> None:
    """With every hash right, the stored outcomes still know that the release was accepted."""
    escrow = a_story(victim)
    superuser.execute("UPDATE audit SET outcome = 'forbidden' WHERE escrow_id = %s AND position = 5", (escrow.id,))
    rehash(superuser, escrow.id, 5, 6)
    found = verify(victim.engine, victim.tenant).findings
    assert found[0].kind == "missing"
    assert "contradicted" in {one.kind for one in found}


def test_a_row_taken_out_and_closed_over_is_found(victim: Market, superuser: Connection) -> None:
    """Renumbered and hashed anew, the versions do not follow each other any more, and a command has no row."""
    escrow = a_story(victim)
    superuser.execute("DELETE FROM audit WHERE escrow_id = %s AND position = 3", (escrow.id,))
    for old in (4, 5, 6):
        superuser.execute(
            "UPDATE audit SET position = %s WHERE escrow_id = %s AND position = %s", (old - 1, escrow.id, old)
        )
    rehash(superuser, escrow.id, 2, 3, 4, 5)
    assert first(victim, escrow) == (escrow.id, 3, "wrong version")


def test_a_row_invented_at_the_end_is_found(victim: Market, superuser: Connection) -> None:
    """The trigger chains whatever is inserted; a command that was never decided is named."""
    escrow = a_story(victim)
    superuser.execute("SET session_replication_role = origin")
    values = (new_id("aud"), victim.tenant, escrow.id, "by hand", escrow.version, escrow.version)
    line = "(%s, %s, %s, %s, 'cancel', 'buyer', '{}', 'forbidden', %s, %s, now())"
    superuser.execute(INSERT.format(line).encode(), values)
    assert first(victim, escrow) == (escrow.id, ROWS + 1, "invented")


@pytest.mark.parametrize("damage", MONEY)
def test_damage_to_the_money_is_found(victim: Market, superuser: Connection, damage: str) -> None:
    """Entries, balances, counters and settlements have to agree with each other."""
    escrow = a_story(victim)
    assert superuser.execute(MONEY[damage].encode(), {"escrow": escrow.id, "tenant": victim.tenant}).rowcount
    kinds = {finding.kind for finding in verify(victim.engine, victim.tenant).findings}
    assert kinds == {"money"}


def test_every_broken_chain_is_told_once_and_others_are_not(victim: Market, superuser: Connection) -> None:
    """The first broken row of each escrow, and nothing of other tenants."""
    broken, whole = [a_story(victim), a_story(victim)], a_story(victim)
    superuser.execute("UPDATE audit SET name = 'x' WHERE escrow_id = ANY(%s)", ([one.id for one in broken],))
    found = verify(victim.engine, victim.tenant)
    assert (found.rows, found.escrows, found.total) == (3 * ROWS, 3, 2)
    assert [(one.escrow, one.position) for one in found.findings] == [(one.id, 1) for one in broken]
    assert verify(victim.engine, escrow=whole.id).whole
    assert verify(victim.engine, Market(victim.engine).tenant).whole
    assert verify(victim.engine).total >= 2


def test_books_in_use_are_not_taken_for_damaged(market: Market) -> None:
    """A check sees one moment: what is committed while it reads breaks nothing."""
    with ThreadPoolExecutor(4) as pool:
        stories = [pool.submit(a_story, market) for _ in range(40)]
        while not all(one.done() for one in stories):
            assert verify(market.engine, market.tenant).findings == []
        assert all(one.exception() is None for one in stories)
    assert verify(market.engine, market.tenant).rows == 40 * ROWS


def test_the_story_tells_the_money_of_each_command(market: Market) -> None:
    """The approval has its settlement and entries; a refusal moved nothing."""
    escrow = a_story(market)
    found = story(market.engine, escrow.id)
    assert found is not None
    assert found.escrow is not None
    approval = found.rows[4]
    assert found.settlements[approval.command_id]["platform_fee"] == 15000
    moved = [(one["direction"], one["account_kind"], one["amount"]) for one in found.movements[approval.command_id]]
    assert moved[0] == ("debit", "escrow_hold", 150000)
    assert sorted(moved[1:]) == [("credit", "fee_revenue", 15000), ("credit", "payable", 135000)]
    assert (found.rows[5].accepted, found.rows[5].command_id in found.movements) == (False, False)
    assert story(market.engine, new_id("esc")) is None


def test_an_escrow_that_was_only_refused_has_a_story(market: Market) -> None:
    """A create that was refused is on record before there is an escrow."""
    create = a_create(tenant=market.tenant, milestones=FOUR)
    assert market.apply(create).refusal is not None
    found = story(market.engine, create.escrow)
    assert found is not None
    assert (found.escrow, len(found.rows), found.verification.whole) == (None, 1, True)
    assert one_row(market, create.escrow) == 1


def one_row(market: Market, escrow: str) -> int:
    """How many rows of the audit are about an escrow."""
    return int(market.scalar("SELECT count(*) FROM audit WHERE escrow_id = :escrow", escrow=escrow))
