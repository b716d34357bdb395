"""One request makes one key; and of a forgotten party the keys of its requests stay, so that none is done again.

Revision ID: 0011
"""

from ledger.migrations.script import refuse_downgrade, run_beside

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Run the script of the same name."""
    run_beside(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_downgrade()
