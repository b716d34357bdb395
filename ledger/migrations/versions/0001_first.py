"""The first books.

Revision ID: 0001
"""

from pathlib import Path
from typing import Any

from alembic import context, op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything; ``{app_role}`` is the role that the program connects as."""
    script = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # Straight to the driver: the script's own percent signs are not placeholders.
    driver: Any = op.get_bind().connection.driver_connection
    driver.execute(script.replace("{app_role}", context.config.attributes["app_role"]))


def downgrade() -> None:
    """Books are not thrown away."""
    raise NotImplementedError("restore a backup instead: a downgrade would delete the books")
