"""Webhook endpoints, and what is to be posted to them.

Revision ID: 0007
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
