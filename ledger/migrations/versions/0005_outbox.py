"""The outbox, and what became of each notification.

Revision ID: 0005
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
