"""Bring a database to the newest schema."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import create_engine, text

from ledger.keyring import Keyring

# Any number, as long as every process that migrates uses the same one.
_ADVISORY_LOCK = 4_201_770_001


def upgrade(
    migration_url: str,
    app_role: str = "holdfast_app",
    to: str = "head",
    *,
    api_role: str = "holdfast_api",
    keys: Keyring | None = None,
) -> None:
    """Run every migration that is missing up to ``to``, as the role that owns the schema.

    ``app_role`` is what workers connect as, ``api_role`` what the HTTP API does; both get their grants. ``keys``
    encrypt what older releases kept in clear. Safe to call from several processes at once: one migrates, the others
    wait. Raises ``sqlalchemy.exc.DBAPIError`` or ``psycopg.Error`` when the database cannot be reached or a role is
    missing, ``KeysNeededError`` when there is something to encrypt and no keys; a failure leaves nothing behind.
    """
    engine = create_engine(migration_url)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
            config.attributes["connection"] = connection
            driver: Any = connection.connection.driver_connection
            config.attributes["app_role"] = sql.Identifier(app_role).as_string(driver)
            config.attributes["api_role"] = sql.Identifier(api_role).as_string(driver)
            config.attributes["keys"] = keys
            command.upgrade(config, to)
    finally:
        engine.dispose()
