"""The schema comes from the migrations alone: once, whoever runs them how often, and whole or not at all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from ledger import migrate
from ledger.migrate import upgrade
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


def test_a_migration_that_fails_leaves_nothing_behind(fresh: str) -> None:
    """Without the role that is to get the grants at its end, not one table of the migration is kept."""
    with pytest.raises(psycopg.errors.UndefinedObject, match="nobody"):
        upgrade(fresh, app_role="nobody")
    with psycopg.connect(fresh.replace("+psycopg", "")) as connection:
        assert one(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    upgrade(fresh)
