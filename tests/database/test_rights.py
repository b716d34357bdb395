"""What the program's role may not do: a hole in the program gives nobody a hand on balances or on the guards."""

from contextlib import closing

import psycopg
import pytest
from psycopg import errors

from models.states import State
from tests.builders import new_id
from tests.database.postings import post
from tests.market import Market
from tests.servers import Connection, Servers, one

FORBIDDEN = {
    "set a balance": "UPDATE account SET balance = balance + 1",
    "open an account": "INSERT INTO account (tenant_id, kind, owner, currency, balance) VALUES ('t', 'wallet', 'x', 'EUR', 5)",  # noqa: E501
    "close an account": "DELETE FROM account",
    "lock an account": "SELECT FROM account FOR UPDATE",
    "switch a trigger off": "ALTER TABLE entry DISABLE TRIGGER ALL",
    "drop a trigger": "DROP TRIGGER balanced ON entry",
    "go around triggers": "SET session_replication_role = 'replica'",
    "adopt an old transaction": "UPDATE ledger_transaction SET recorded_by = pg_current_xact_id()",
    "change a kind of account": "UPDATE account_kind SET has_floor = false",
    "add a kind of account": "INSERT INTO account_kind VALUES ('slush_fund', 'credit', false)",
    "make a table": "CREATE TABLE mine (id int)",
    "make a temporary table": "CREATE TEMPORARY TABLE entry (id int)",
    "make a schema": "CREATE SCHEMA mine",
    "make a function": "CREATE FUNCTION refuse_change() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "replace a guard": "CREATE OR REPLACE FUNCTION refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",  # noqa: E501
    "drop a table": "DROP TABLE entry",
    "become the owner": "SET ROLE holdfast_owner",
    "make a role": "CREATE ROLE mallory SUPERUSER",
    "run a program": "COPY entry TO PROGRAM 'cat'",
    "make a tenant live": "UPDATE tenant SET mode = 'live'",
    "change a reporting currency": "UPDATE tenant SET reporting_currency = 'USD'",
    "forget an escrow": "DELETE FROM escrow",
    "forget a payout": "DELETE FROM payout",
    "forget a charge": "DELETE FROM charge",
    "change the schema's version": "UPDATE alembic_version SET version_num = '0'",
}


@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_the_programs_role_has_no_right_to(app: Connection, statement: str) -> None:
    """Each of these is refused to the program's role for lack of right."""
    with pytest.raises(errors.InsufficientPrivilege):
        app.execute(statement.encode())


def test_a_transaction_cannot_be_passed_off_as_that_of_a_later_one(market: Market, app: Connection) -> None:
    """``recorded_by`` and ``recorded_at`` are PostgreSQL's own words: the program cannot write them."""
    for column, value in (("recorded_by", "'9999999'::xid8"), ("recorded_at", "now()")):
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute(
                f"INSERT INTO ledger_transaction (id, tenant_id, command_id, memo, posted_at, {column})"
                f" VALUES ('{new_id('txn')}', '{market.tenant}', 'c', 'm', now(), {value})".encode()
            )
        app.rollback()


def test_the_programs_role_owns_nothing(owner: Connection) -> None:
    """No table, function or schema belongs to it, it is no member of another role and has no attribute of power."""
    role = "(SELECT oid FROM pg_roles WHERE rolname = 'holdfast_app')"
    assert one(owner, f"SELECT count(*) FROM pg_class WHERE relowner = {role}") == 0
    assert one(owner, f"SELECT count(*) FROM pg_proc WHERE proowner = {role}") == 0
    assert one(owner, f"SELECT count(*) FROM pg_namespace WHERE nspowner = {role}") == 0
    assert one(owner, f"SELECT count(*) FROM pg_auth_members WHERE member = {role}") == 0
    powers = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"
    assert one(owner, f"SELECT {powers} FROM pg_roles WHERE rolname = 'holdfast_app'") is False


def test_a_locked_party_keeps_rivals_waiting_until_the_transaction_ends(market: Market, servers: Servers) -> None:
    """The lock is per party, tenant and currency: the same one waits, any other goes by."""
    lock = "SELECT lock_parties(%s, %s, %s, NULL)"
    with closing(servers.app()) as holder, closing(servers.app()) as rival:
        holder.execute(lock, (market.tenant, "EUR", "bob"))
        rival.execute("SET lock_timeout = '50ms'")
        rival.execute(lock, (market.tenant, "USD", "bob"))
        rival.execute(lock, (market.tenant, "EUR", "alice"))
        rival.execute(lock, (new_id("ten"), "EUR", "bob"))
        with pytest.raises(errors.LockNotAvailable), rival.transaction():
            rival.execute(lock, (market.tenant, "EUR", "bob"))
        holder.rollback()
        rival.execute(lock, (market.tenant, "EUR", "bob"))


def test_a_live_tenants_clock_cannot_be_moved(market: Market, owner: Connection) -> None:
    """A tenant in live mode has no clock offset, not even by raw SQL, neither at its creation nor later."""
    live = new_id("ten")
    insert = "INSERT INTO tenant (id, name, mode, reporting_currency, clock_offset) VALUES (%s, 'x', 'live', 'EUR', %s)"
    owner.execute(insert, (live, 0))
    with pytest.raises(errors.CheckViolation), owner.transaction():
        owner.execute("UPDATE tenant SET clock_offset = 60 WHERE id = %s", (live,))
    with pytest.raises(errors.CheckViolation), owner.transaction():
        owner.execute(insert, (new_id("ten"), 60))
    with pytest.raises(errors.CheckViolation), owner.transaction():
        owner.execute("UPDATE tenant SET clock_offset = -1 WHERE id = %s", (market.tenant,))


def test_owners_and_others_see_each_other_only_through_ids(market: Market, app: Connection) -> None:
    """A seller who is the buyer cannot be written down, even past the program's own check."""
    escrow = market.at(State.CREATED)
    with pytest.raises(errors.CheckViolation, match="escrow_check"):
        app.execute("UPDATE escrow SET seller = buyer WHERE id = %s", (escrow.id,))


def test_posting_by_hand_is_held_to_the_same_balances(market: Market, app: Connection) -> None:
    """Entries that the role writes past the program move the stored balances all the same."""
    post(app, market.tenant, ("wallet", "alice", "debit", 1, "EUR"), ("wallet", "bob", "credit", 1, "EUR"))
    app.commit()
    stored = "SELECT balance FROM account WHERE tenant_id = :tenant AND kind = 'wallet' AND owner = 'bob'"
    assert market.scalar(stored) == 1 == market.balance("wallet", "bob")


def test_no_password_is_readable_to_the_program(app: Connection) -> None:
    """The role cannot read PostgreSQL's password hashes."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute("SELECT rolpassword FROM pg_authid")
