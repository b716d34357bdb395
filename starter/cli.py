"""``holdfast``: the command line. ``starter.commands`` has the commands, ``starter.endings`` the exit codes."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version as version_of
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from starter.commands import books, deals, stack
from starter.commands.disputes import dispute
from starter.commands.escrows import escrow
from starter.commands.options import JsonOption
from starter.commands.payouts import payout
from starter.commands.reconcile import reconcile
from starter.commands.speaking import complain, say
from starter.commands.tenants import tenant, test_clock
from starter.endings import DONE, EPILOG, FAILED, MISUSED

_JSON: Final = "--json"

app = typer.Typer(
    help="Escrow for marketplaces on Temporal and PostgreSQL: money moves exactly once.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_COMMANDS: Final[tuple[Callable[..., None], ...]] = (
    stack.up, stack.api, stack.worker, stack.migrate, deals.run, deals.demo,
    books.report, books.audit, books.verify, books.screen, books.repair, books.reencrypt,
)  # fmt: skip
_GROUPS: Final = {
    "reconcile": reconcile, "tenant": tenant, "escrow": escrow, "dispute": dispute, "payout": payout,
    "test-clock": test_clock,
}  # fmt: skip
for _command in _COMMANDS:
    app.command()(_command)
for _name, _group in _GROUPS.items():
    app.add_typer(_group, name=_name, epilog=EPILOG)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a title in Thai must not end a run
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup has its reasons
            signal.signal(number, signal.default_int_handler)
    try:
        code = _run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else FAILED
        if isinstance(end.code, str):
            typer.echo(end.code, err=True)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)  # the SDK's threads can crash a finalizing interpreter after all work is done


def _run() -> int:
    """Obey the arguments; a script that asks for JSON gets it for arguments that make no sense, too."""
    if _JSON not in sys.argv:
        app()
        return DONE
    try:
        code: int | None = app(standalone_mode=False)
    except TyperException as error:
        return complain("wrong_input", error.format_message(), MISUSED, as_json=True).exit_code
    return code or DONE


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options that need no command."""


@app.command()
def version(json: JsonOption = False) -> None:
    """Print the version."""
    number = version_of("holdfast")
    say(f"holdfast {number}", {"version": number}, as_json=json)
