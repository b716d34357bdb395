"""Exchange rates.

Revision ID: 0003
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
