"""How a command ends: the exit codes that scripts go by, and what is said with them. docs/cli.md lists them."""

from typing import Any, Final

DONE: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
REFUSED: Final = 3
NOT_FOUND: Final = 4
UNKNOWN: Final = 5
INTERRUPTED: Final = 130

EPILOG: Final = (
    "Exit codes: 0 done, 1 the deal or a server failed, 2 wrong input, 3 refused by the rules (nothing moved), "
    "4 not found, 5 outcome unknown (send it again with the same --id), 130 interrupted."
)


class EndedError(Exception):
    """A command that ends without having done its work.

    ``exit_code`` is one of the above, ``code`` the stable name that ``--json`` gives it, ``members`` what else a
    script may want to know. ``told`` is for people, where the message alone would not do.
    """

    def __init__(self, exit_code: int, code: str, message: str, *, told: str | None = None, **members: Any) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.told = told or message
        self.members = members
