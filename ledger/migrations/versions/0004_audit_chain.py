"""The audit's hash chain.

Revision ID: 0004
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
