"""What the rules about money need beyond a flat fee.

Revision ID: 0002
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
