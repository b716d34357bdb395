"""Ledger transactions by raw SQL, past every rule of the program."""

from tests.builders import new_id
from tests.servers import Connection

Line = tuple[str, str, str, int, str]
"""Kind of account, owner, direction, amount, currency."""


def post(connection: Connection, tenant: str, *lines: Line, transaction: str | None = None) -> str:
    """Insert a transaction with its entries, without committing; an existing ``transaction`` gets more entries."""
    identifier = transaction or new_id("txn")
    if transaction is None:
        connection.execute(
            "INSERT INTO ledger_transaction (id, tenant_id, command_id, memo, posted_at)"
            " VALUES (%s, %s, 'by hand', 'by hand', now())",
            (identifier, tenant),
        )
    rows = [(new_id("ent"), identifier, tenant, *line) for line in lines]
    places = ", ".join(["(%s, %s, %s, %s, %s, %s, %s, %s)"] * len(rows))
    connection.execute(
        "INSERT INTO entry (id, transaction_id, tenant_id, account_kind, owner, direction, amount, currency)"
        f" VALUES {places}".encode(),
        [value for row in rows for value in row],
    )
    return identifier
