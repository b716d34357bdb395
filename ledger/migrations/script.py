"""A migration is an SQL script, written to be read, beside a few lines of Python that Alembic asks for."""

from pathlib import Path
from typing import Any

from alembic import context, op


class KeysNeededError(ValueError):
    """There is something to encrypt, and nobody gave the keys."""


def run_beside(migration: str) -> None:
    """Run the script of the same name; ``{app_role}`` in it is the role of workers, ``{api_role}`` that of the API."""
    script = Path(migration).with_suffix(".sql").read_text(encoding="utf-8")
    for role in ("app_role", "api_role"):
        script = script.replace(f"{{{role}}}", context.config.attributes[role])
    # Straight to the driver: the script's own percent signs are not placeholders.
    driver: Any = op.get_bind().connection.driver_connection
    driver.execute(script)


def refuse_downgrade() -> None:
    """Books are not thrown away."""
    raise RuntimeError("restore a backup instead: a downgrade would delete books")
