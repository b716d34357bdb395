"""The audit's rows by raw SQL, past the program."""

from psycopg.rows import dict_row

from ledger.audit import COLUMNS, AuditRow
from tests.servers import Connection

INSERT = """INSERT INTO audit (id, tenant_id, escrow_id, command_id, name, actor_role, details, outcome, before_version,
                               after_version, received_at) VALUES {}"""


def rows_of(connection: Connection, escrow: str) -> list[AuditRow]:
    """An escrow's rows in the order of the chain."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM audit WHERE escrow_id = %s ORDER BY position".encode(), (escrow,))
        return [AuditRow(**row) for row in cursor.fetchall()]
