"""Row-level security between tenants; keys, and the answers to requests of the API.

Revision ID: 0006
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
