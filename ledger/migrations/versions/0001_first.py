"""The first books.

Revision ID: 0001
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
