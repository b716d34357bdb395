"""The audit's hashes: made by PostgreSQL as rows are written, the same that anybody can compute."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors
from sqlalchemy import make_url

from ledger.audit import GENESIS, story, verify
from ledger.migrate import upgrade
from models.states import State
from tests.builders import a_create, new_id
from tests.database.audit_rows import INSERT, rows_of
from tests.market import Market
from tests.servers import Connection, Servers

FOUR = (125000,) * 4  # one more than the policy allows


def test_the_program_cannot_choose_a_hash(market: Market, app: Connection, owner: Connection) -> None:
    """It has no right to the columns of the chain, and what the owner says of them is overruled."""
    escrow = market.at(State.FUNDED)
    for column, value in (("hash", "'x'"), ("previous", "'x'"), ("position", "7"), ("recorded_at", "now()")):
        statement = INSERT.replace("received_at)", f"received_at, {column})")
        line = (
            f"('{new_id('aud')}', '{market.tenant}', '{escrow.id}', 'c', 'n', 'r', '{{}}', 'o', 5, 5, now(), {value})"
        )
        with pytest.raises(errors.InsufficientPrivilege):
            app.execute(statement.format(line).encode())
        app.rollback()
    line = (
        f"('{new_id('aud')}', '{market.tenant}', '{escrow.id}', 'c', 'n', 'r', '{{}}', 'o', 5, 5, now(), 99, 'x', 'x')"
    )
    owner.execute(INSERT.replace("received_at)", "received_at, position, previous, hash)").format(line).encode())
    last = rows_of(owner, escrow.id)[-1]
    assert (last.position, last.hash) == (3, last.digest())
    owner.rollback()


def test_rows_of_one_statement_are_chained_in_their_order(market: Market, app: Connection) -> None:
    """A command that lets deadlines act first writes several rows at once; each sees the one before it."""
    escrow = new_id("esc")
    lines = [
        f"('{new_id('aud')}', '{market.tenant}', '{escrow}', 'c{n}', 'n', 'r', '{{}}', 'o', 0, 0, now())"
        for n in range(5)
    ]
    app.execute(INSERT.format(", ".join(lines)).encode())
    rows = rows_of(app, escrow)
    assert [row.command_id for row in rows] == [f"c{n}" for n in range(5)]
    assert all(row.digest() == row.hash for row in rows)
    assert [row.previous for row in rows] == [GENESIS, *(row.hash for row in rows[:-1])]
    app.rollback()


def test_refusals_of_one_unknown_escrow_at_once_are_all_chained(market: Market) -> None:
    """There is no row to lock yet; they queue nevertheless."""
    rivals, escrow = 12, new_id("esc")
    barrier = Barrier(rivals)

    def refuse(_: int) -> bool:
        create = a_create(tenant=market.tenant, escrow=escrow, milestones=FOUR)
        barrier.wait()
        return market.apply(create).refusal is not None

    with ThreadPoolExecutor(rivals) as pool:
        assert all(pool.map(refuse, range(rivals)))
    found = verify(market.engine, escrow=escrow)
    assert (found.whole, found.rows) == (True, rivals)


# What PostgreSQL can store: no NUL, no half of a character.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda one: st.lists(one) | st.dictionaries(TEXT, one)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.tuples(TEXT, TEXT, TEXT),
    maybe=st.none() | TEXT,
    details=st.builds(json.dumps, JSON, ensure_ascii=st.booleans()),
    ip=st.none() | st.ip_addresses(),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu"]),
)
def test_python_and_postgresql_compute_the_same_hash(
    market: Market, app: Connection, texts: tuple[str, str, str], maybe: str | None, details: str, ip: object, zone: str
) -> None:
    """Whatever people write, in whatever session: the canonical form is the same to the byte."""
    escrow = new_id("esc")
    app.execute(f"SET LOCAL timezone = '{zone}'; SET LOCAL datestyle = 'SQL, DMY'".encode())
    app.execute(
        """INSERT INTO audit (id, tenant_id, escrow_id, command_id, name, actor_role, actor_party, ip, user_agent,
               details, outcome, message, before_version, after_version, received_at)
           VALUES (%s, %s, %s, %s, %s, 'buyer', %s, %s, %s, %s, %s, %s, 0, 9223372036854775807, clock_timestamp())""",
        (new_id("aud"), market.tenant, escrow, texts[0], texts[1], maybe, ip, maybe, details, texts[2], maybe),
    )
    (row,) = rows_of(app, escrow)
    assert row.details == details
    assert row.digest() == row.hash
    app.rollback()


def test_a_reader_of_the_json_can_compute_the_chain(market: Market) -> None:
    """As docs/reports.md says, with nothing but the export."""
    from starter.reports.story import story_json

    found = story(market.engine, market.at(State.FUNDED).id)
    assert found is not None
    previous = "0" * 64
    for row in json.loads(story_json(found))["rows"]:
        hashed = [
            previous, row["position"], row["id"], row["tenant_id"], row["escrow_id"], row["command_id"], row["name"],
            row["actor_role"], row["actor_party"], row["ip"], row["user_agent"], row["details_text"], row["outcome"],
            row["message"], row["before_version"], row["after_version"], row["received_at"], row["recorded_at"],
        ]  # fmt: skip
        previous = hashlib.sha256(json.dumps(hashed, ensure_ascii=False).encode()).hexdigest()
        assert row["hash"] == previous


@pytest.fixture
def fresh(servers: Servers) -> Iterator[str]:
    """The owner's URL of an empty database on the same server."""
    with closing(servers.superuser("postgres")) as connection:
        connection.execute("CREATE DATABASE unchained OWNER holdfast_owner")
        url = make_url(servers.endpoints.migration_url).set(database="unchained")
        yield url.render_as_string(hide_password=False)
        connection.execute("DROP DATABASE unchained WITH (FORCE)")


def test_rows_from_before_the_chain_are_chained_in_the_order_of_their_versions(fresh: str) -> None:
    """The migration updates what is append-only, once; the guard is back afterwards."""
    upgrade(fresh, to="0003")
    with psycopg.connect(fresh.replace("+psycopg", "")) as connection:
        connection.execute("INSERT INTO tenant (id, name, mode, reporting_currency) VALUES ('t', 't', 'test', 'EUR')")
        for escrow in ("e2", "e1"):
            for before, after in ((2, 3), (1, 1), (0, 1), (1, 2), (3, 3)):
                values = (f"{escrow}{before}{after}", "t", escrow, "c", before, after)
                line = "(%s, %s, %s, %s, 'n', 'r', '{}', 'o', %s, %s, now())"
                connection.execute(INSERT.format(line).encode(), values)
    upgrade(fresh)
    with psycopg.connect(fresh.replace("+psycopg", "")) as connection:
        for escrow in ("e1", "e2"):
            rows = rows_of(connection, escrow)
            assert [row.id[2:] for row in rows] == ["01", "11", "12", "23", "33"]
            assert [row.previous for row in rows] == [GENESIS, *(row.hash for row in rows[:-1])]
            assert all(row.digest() == row.hash for row in rows)
        with pytest.raises(errors.RestrictViolation):
            connection.execute("UPDATE audit SET position = position")
