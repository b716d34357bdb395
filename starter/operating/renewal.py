"""The command `reencrypt`: personal data under the current key, so that an older one can be retired."""

from pathlib import Path

from ledger.personal import UnreadableError, reencrypt
from starter.embedded.child import StackError
from starter.operating.office import office


def renew(home: Path | None, *, quiet: bool) -> int:
    """Encrypt under the first of HOLDFAST_KEYS what is under older ones; answers how many rows.

    May be stopped and run again, beside everything else. Raises ``StackError`` when rows cannot be read.
    """
    with office(home, quiet=quiet) as desk:
        desk.progress.doing("Encrypting personal data under the current key.")
        try:
            return reencrypt(desk.engine, desk.servers.keyring())
        except UnreadableError as error:
            raise StackError(f"Some rows were encrypted under a key that HOLDFAST_KEYS lacks: {error}") from error
