"""Figures for monitoring, without anything of a tenant.

Revision ID: 0010
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
