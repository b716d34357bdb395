"""Who parties are, encrypted, in one table.

Revision ID: 0009
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
