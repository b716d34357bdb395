"""Tenants are kept apart by PostgreSQL itself, under a role that cannot switch it off. Source: OWASP API1:2023."""

from collections.abc import Iterator
from typing import Final

import psycopg
import pytest
from sqlalchemy import Engine, text

from ledger import reads
from ledger.engine import connect, for_tenant
from models.states import State
from tests.builders import new_id
from tests.market import Market
from tests.servers import Connection, Servers, one

# Nobody's rows in particular: the kinds of accounts, the revision of the schema; and what the API may not read at all.
NOBODYS: Final = {"account_kind", "alembic_version"}
TABLES: Final = """
SELECT c.relname, c.relrowsecurity, has_table_privilege('holdfast_api', c.oid, 'SELECT')
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY 1
"""


@pytest.fixture(scope="module")
def api_engine(servers: Servers) -> Iterator[Engine]:
    """One connection for the API's role, so that whatever a transaction leaves behind meets the next one."""
    engine = connect(servers.endpoints.api_database_url, 1)
    yield engine
    engine.dispose()


def api_role(servers: Servers) -> Connection:
    """Connect as the API does."""
    return psycopg.connect(servers.endpoints.api_database_url.replace("+psycopg", ""))


def attempt(servers: Servers, acting: str, statement: str, **parameters: str) -> None:
    """Run a statement as the API does for a tenant."""
    with api_role(servers) as connection:
        connection.execute("SELECT set_config('holdfast.tenant', %s, true)", (acting,))
        connection.execute(statement.encode(), parameters or None)


def visible(engine: Engine) -> dict[str, int]:
    """How many rows of each table can be read that belong to a tenant."""
    with engine.connect() as connection:
        tables = [row[0] for row in connection.execute(text(TABLES)) if row[2] and row[0] not in NOBODYS]
        return {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in tables}


def test_every_table_that_the_api_reads_is_kept_apart(servers: Servers) -> None:
    with servers.owner() as connection:
        tables = connection.execute(TABLES.encode()).fetchall()
    open_to_all = {name for name, secured, readable in tables if readable and not secured} - NOBODYS
    assert open_to_all == set(), "give each of them keep_apart(…) in its migration"


def test_a_tenant_sees_nothing_of_another_in_any_table(servers: Servers, api_engine: Engine, market: Market) -> None:
    market.at(State.DISPUTED)
    market.at(State.COMPLETED)
    other = Market(servers.engine, fees=None, purse=0)
    own, others = visible(for_tenant(api_engine, market.tenant)), visible(for_tenant(api_engine, other.tenant))
    for table in ("escrow", "milestone", "dispute", "deadline", "settlement", "payout", "release", "entry", "audit",
                  "event", "command", "ledger_transaction", "account", "settled_milestone", "charge"):  # fmt: skip
        assert own[table] > 0, table
        assert others[table] == 0, table
    assert (others["tenant"], others["party"]) == (1, 1)


def test_without_a_tenant_there_is_nothing_to_see(api_engine: Engine, market: Market) -> None:
    market.at(State.FUNDED)
    assert visible(for_tenant(api_engine, market.tenant))["escrow"] == 1
    # The same connection of the pool: what named the tenant ended with its transaction.
    left = {table for table, rows in visible(api_engine).items() if rows}
    assert left <= {"exchange_rate"}  # everyone's are nobody's secret


def test_the_role_cannot_switch_it_off(servers: Servers) -> None:
    for statement in (
        "SET row_security = off; SELECT count(*) FROM escrow",
        "ALTER TABLE escrow DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own_tenant ON escrow",
        "SET ROLE holdfast_app",
        "SET ROLE holdfast_owner",
        "SELECT keep_apart('escrow', 'true')",
        "CREATE POLICY mine ON escrow USING (true)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            attempt(servers, "", statement)
    with servers.owner() as connection:
        rights = "SELECT rolsuper OR rolbypassrls OR rolcreaterole FROM pg_roles WHERE rolname = 'holdfast_api'"
        assert one(connection, rights) is False


def test_nothing_can_be_written_for_another_tenant(servers: Servers, market: Market) -> None:
    escrow = market.at(State.FUNDED)
    other = Market(servers.engine, fees=None, purse=0)
    for statement in (
        "INSERT INTO party (tenant_id, id) VALUES (%(tenant)s, 'mallory')",
        "INSERT INTO policy (tenant_id, kind, version, document) VALUES (%(tenant)s, 'fees', 99, '{}')",
        """INSERT INTO api_key (id, tenant_id, role, name, hash, ending)
           VALUES ('key_x', %(tenant)s, 'operator', 'mine', sha256('x'), 'x')""",
        """INSERT INTO idempotency (tenant_id, key, fingerprint, path, lease_until)
           VALUES (%(tenant)s, 'k', 'f', '/', now())""",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="policy"):
            attempt(servers, other.tenant, statement, tenant=market.tenant)
    with api_role(servers) as connection:
        connection.execute("SELECT set_config('holdfast.tenant', %s, true)", (other.tenant,))
        moved = connection.execute("UPDATE tenant SET clock_offset = 86400 WHERE id = %s", (market.tenant,))
        assert moved.rowcount == 0
        connection.execute("SELECT lock_escrow(%s)", (escrow.id,))  # locks nothing that it cannot see
        with servers.owner() as owner:
            owner.execute("SELECT FROM escrow WHERE id = %s FOR UPDATE NOWAIT", (escrow.id,))


@pytest.mark.parametrize(("name", "taken"), [("reconciliation:txn_1:20991231", False), ("reconciliation", True)])
def test_the_api_cannot_write_what_a_round_writes(servers: Servers, name: str, taken: bool) -> None:
    """An event of that id would keep a round from looking into the same thing."""
    statement = """INSERT INTO gateway_event (provider, id, type, created, reference, details)
        VALUES ('of nobody', %s, 'transfer.reversed', now(), 'tr_1', '{}')"""
    with api_role(servers) as connection:
        try:
            connection.execute(statement, (name,))
        except psycopg.errors.InsufficientPrivilege as error:
            assert "policy" in str(error)  # noqa: PT017 - whether it is raised is what differs
            assert not taken
        else:
            assert taken
        connection.rollback()


def test_the_api_moves_no_money_by_itself(servers: Servers, market: Market) -> None:
    market.at(State.FUNDED)
    for statement in (
        "UPDATE escrow SET held = 0, released = funded",
        "UPDATE account SET balance = 0",
        "INSERT INTO entry SELECT * FROM entry",
        "INSERT INTO settlement SELECT * FROM settlement",
        "UPDATE payout SET status = 'paid'",
        "DELETE FROM audit",
        "UPDATE command SET outcome = '{}'",
        "DELETE FROM escrow",
        "SELECT FROM escrow FOR UPDATE",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            attempt(servers, market.tenant, statement)


def test_reads_by_id_find_nothing_of_another_tenant(api_engine: Engine, market: Market) -> None:
    escrow = market.at(State.FUNDED)
    assert reads.escrow(for_tenant(api_engine, market.tenant), escrow.id) == market.escrow(escrow)
    assert reads.escrow(for_tenant(api_engine, new_id("ten")), escrow.id) is None
