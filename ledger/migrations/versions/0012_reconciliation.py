"""The provider's books beside ours, how they differ, and what was corrected.

Revision ID: 0012
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
