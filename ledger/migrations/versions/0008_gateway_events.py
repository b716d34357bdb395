"""What payment providers told us, as they told it.

Revision ID: 0008
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
