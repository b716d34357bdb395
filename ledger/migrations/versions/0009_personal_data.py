"""Who parties are, encrypted, in one table.

Revision ID: 0009
"""

import json
from typing import Any, Final

from alembic import context, op

from ledger.keyring import Keyring
from ledger.migrations.script import KeysNeededError, refuse_downgrade, run_beside

revision = "0009"
down_revision = "0008"

_ROWS_AT_ONCE: Final = 1000
_KNOWN: Final = "FROM party WHERE name IS NOT NULL OR email IS NOT NULL OR language IS NOT NULL"
_ADD: Final = "INSERT INTO personal_data (tenant_id, party, data) VALUES (%s, %s, %s)"
# A column that is dropped stays in the table's file, and in dead rows, until the table is written anew.
_DROP: Final = """
ALTER TABLE party DROP COLUMN name, DROP COLUMN email, DROP COLUMN language;
CLUSTER party USING party_pkey;
ALTER TABLE party SET WITHOUT CLUSTER;
"""


def upgrade() -> None:
    """Make the table, and move there what is known. Raises ``KeysNeededError`` where something is and no keys are."""
    run_beside(__file__)
    driver: Any = op.get_bind().connection.driver_connection
    if (moving := driver.execute(f"SELECT count(*) {_KNOWN}").fetchone()[0]) > 0:
        keys: Keyring | None = context.config.attributes["keys"]
        if keys is None:
            raise KeysNeededError(
                f"{moving} parties have names or addresses, which this release encrypts: HOLDFAST_KEYS must be set"
            )
        _move(driver, keys)
    driver.execute(_DROP)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()


def _move(driver: Any, keys: Keyring) -> None:
    with driver.cursor(name="moving") as moving, driver.cursor() as adding:
        moving.execute(f"SELECT tenant_id, id, name, email, language {_KNOWN}")
        while rows := moving.fetchmany(_ROWS_AT_ONCE):
            sealed = ((tenant, party, _sealed(keys, tenant, party, known)) for tenant, party, *known in rows)
            adding.executemany(_ADD, sealed)


def _sealed(keys: Keyring, tenant: str, party: str, known: list[str | None]) -> bytes:
    # As ledger/personal.py reads it; written out here, since a migration stays what it was.
    said = {name: value for name, value in zip(("name", "email", "language"), known, strict=True) if value is not None}
    return keys.encrypt("personal", json.dumps(said).encode(), f"{tenant}/{party}")
