"""The schema comes from the migrations alone: once, whoever runs them how often, and whole or not at all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import IntegrityError

from ledger import migrate, reads
from ledger.audit import verify
from ledger.migrate import upgrade
from settings import Settings
from starter.embedded.child import StackError
from starter.misuse import MisuseError
from starter.servers import migrate_external
from tests.servers import Servers, one

MIGRATE = "import os; from ledger.migrate import upgrade; upgrade(os.environ['URL'])"
VERSIONS = [one.name[:4] for one in (Path(migrate.__file__).parent / "migrations" / "versions").glob("0*.sql")]
CATALOG = """
SELECT json_agg(line ORDER BY line)::text FROM (
    SELECT format('%s.%s %s %s', table_name, column_name, data_type, column_default) FROM information_schema.columns
        WHERE table_schema = 'public'
    UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid::regclass::text !~ '^pg_'
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT format('%s %s %s', relname, relkind, relacl) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT version_num FROM alembic_version
) AS catalog (line)
"""


@pytest.fixture
def fresh(servers: Servers) -> Iterator[str]:
    """The owner's URL of an empty database on the same server."""
    with closing(servers.superuser("postgres")) as connection:
        connection.execute("CREATE DATABASE fresh OWNER holdfast_owner")
        yield make_url(servers.endpoints.migration_url).set(database="fresh").render_as_string(hide_password=False)
        connection.execute("DROP DATABASE fresh WITH (FORCE)")


def catalog(url: str) -> str:
    """Everything the migrations make, as text."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return str(one(connection, CATALOG))


def test_migrating_twice_changes_nothing(servers: Servers) -> None:
    """The stack has migrated when it starts; doing so again leaves every object as it was."""
    before = catalog(servers.endpoints.migration_url)
    assert max(VERSIONS) in before
    upgrade(servers.endpoints.migration_url)
    assert catalog(servers.endpoints.migration_url) == before


def test_processes_that_migrate_at_once_make_one_schema(servers: Servers, fresh: str) -> None:
    """One migrates, the others wait and find it done; the result is the stack's schema, to the last grant."""
    environment = {**os.environ, "URL": fresh}
    started = [subprocess.Popen([sys.executable, "-c", MIGRATE], env=environment) for _ in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert catalog(fresh) == catalog(servers.endpoints.migration_url)


FIRST_BOOKS = """
INSERT INTO tenant (id, name, mode, reporting_currency) VALUES ('ten_1', 'Old', 'test', 'EUR');
INSERT INTO party (tenant_id, id) VALUES ('ten_1', 'bob');
INSERT INTO escrow VALUES ('esc_1', 'ten_1', 'alice', 'bob', 1000, 'EUR', 'web', 'Logo', 'completed', 5,
    1000, 0, 0, 1000, 0, '{}', '{}', '2026-01-01Z', '2026-01-02Z');
INSERT INTO milestone VALUES ('mil_1', 'esc_1', 1, 'All', NULL, 1000, 0, NULL, 'paid', 1, '[]', NULL, false);
INSERT INTO settlement (id, tenant_id, escrow_id, command_id, milestone, outcome, currency, total, platform_fee,
    seller_payout, buyer_refund, fee_policy_version, fee_rule, fee_rate, fee_steps, created_at) VALUES
    ('set_1', 'ten_1', 'esc_1', 'c', 'mil_1', 'release', 'EUR', 1000, 100, 900, 0, 1, 'release/*', 0.10, '[]',
    '2026-01-02Z');
INSERT INTO settled_milestone VALUES ('mil_1', 'set_1');
INSERT INTO deadline VALUES ('dln_1', 'esc_1', 'mil_1', 'auto_approve', 1, '2026-01-15Z', false, NULL);
INSERT INTO audit (id, tenant_id, escrow_id, command_id, name, actor_role, details, outcome, before_version,
    after_version, received_at) SELECT 'aud_' || n, 'ten_1', 'esc_1', 'c' || n, 'approve_milestone', 'buyer', '{}',
    'accepted', n, n + 1, '2026-01-02Z' FROM generate_series(0, 4) AS n;
"""


def test_books_of_the_first_version_are_carried_over(fresh: str) -> None:
    """What was released can be clawed back and counts as volume, and the audit of before is a chain as well."""
    upgrade(fresh, to="0001")
    with psycopg.connect(fresh.replace("+psycopg", "")) as connection:
        connection.execute(FIRST_BOOKS)
    upgrade(fresh)
    engine = create_engine(fresh)
    escrow = reads.escrow(engine, "esc_1")
    assert escrow is not None
    (release,) = escrow.releases
    assert (release.id, release.principal, release.fee, release.reachable) == ("set_1", 1000, 100, 1000)
    assert (release.milestones, release.rate.rate) == (("mil_1",), Decimal(1))
    assert reads.volume(engine, "ten_1", "bob", "EUR") == 1000
    assert [row["position"] for row in reads.audit(engine, "esc_1")] == [1, 2, 3, 4, 5]
    broken = {"changed", "reordered", "wrong previous"}
    assert not [one for one in verify(engine, "ten_1").findings if one.kind in broken]
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("UPDATE audit SET message = 'x'"))
    engine.dispose()


def test_a_migration_that_fails_leaves_nothing_behind(fresh: str) -> None:
    """Without the role that is to get the grants at its end, not one table of the migration is kept."""
    with pytest.raises(psycopg.errors.UndefinedObject, match="nobody"):
        upgrade(fresh, app_role="nobody")
    with psycopg.connect(fresh.replace("+psycopg", "")) as connection:
        assert one(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    upgrade(fresh)


def own(servers: Servers, migration_url: str, **said: str) -> Settings:
    """Settings of somebody who has servers of their own."""
    given = {
        "migration_url": migration_url,
        "database_url": servers.endpoints.database_url,
        "api_database_url": servers.endpoints.api_database_url,
        **said,
    }
    return Settings.model_validate(given)


def test_a_database_of_ones_own_gets_the_same_schema_for_both_roles(servers: Servers, fresh: str) -> None:
    """Workers' and the API's role get their rights by the names that their addresses say."""
    migrate_external(own(servers, fresh))
    assert catalog(fresh) == catalog(servers.endpoints.migration_url)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"api_database_url": ""}, "HOLDFAST_API_DATABASE_URL does not name a role"),
        ({"database_url": "postgresql+psycopg://127.0.0.1/x"}, "HOLDFAST_DATABASE_URL does not name a role"),
        ({"api_database_url": "postgresql+psycopg://holdfast_app:x@127.0.0.1/x"}, "the API needs its own"),
        ({"keys": "k1:short"}, "HOLDFAST_KEYS: key 1 of the keyring is not"),
    ],
)
def test_settings_that_are_wrong_are_told_before_anything_is_made(
    servers: Servers, fresh: str, wrong: dict[str, str], said: str
) -> None:
    """Each by its name."""
    with pytest.raises(MisuseError, match=said):
        migrate_external(own(servers, fresh, **wrong))
    with psycopg.connect(fresh.replace("+psycopg", "")) as connection:
        assert one(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


def test_all_three_addresses_are_needed_and_a_role_that_is_missing_is_named(servers: Servers, fresh: str) -> None:
    """The API's role is to be made beforehand, as the page about servers of your own says."""
    settings = own(servers, fresh)
    for name in ("migration_url", "database_url", "api_database_url"):
        with pytest.raises(MisuseError, match="must all be set"):
            migrate_external(settings.model_copy(update={name: None}))
    with pytest.raises(StackError, match=r'role "nobody" does not exist'):
        migrate_external(own(servers, fresh, api_database_url="postgresql+psycopg://nobody:x@127.0.0.1/x"))


FIRST_PARTY = """
INSERT INTO tenant (id, name, mode, reporting_currency) VALUES ('ten_1', 'Old', 'test', 'EUR');
INSERT INTO party (tenant_id, id, name) VALUES ('ten_1', 'bob', 'Bob');
"""


def test_names_of_an_earlier_release_ask_for_the_keys(servers: Servers, fresh: str) -> None:
    """It says which setting is missing; with it the names are moved."""
    upgrade(fresh, to="0008")
    with psycopg.connect(fresh.replace("+psycopg", "")) as connection:
        connection.execute(FIRST_PARTY)
    with pytest.raises(MisuseError, match="HOLDFAST_KEYS must be set"):
        migrate_external(own(servers, fresh))
    migrate_external(own(servers, fresh, keys=servers.endpoints.keys))
    assert catalog(fresh) == catalog(servers.endpoints.migration_url)
