"""``holdfast``: the command line. Exit codes: 0 done, 1 the deal or a server failed, 2 wrong input, 130 interrupted."""

import os
import runpy
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Final

import typer

from starter.embedded.child import StackError
from starter.invocation import EXAMPLE, suggested
from starter.misuse import MisuseError
from starter.reports.choices import By, Format, Kind, StoryFormat

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130

app = typer.Typer(
    help="Escrow for marketplaces on Temporal and PostgreSQL: money moves exactly once.",
    epilog="Exit codes: 0 done, 1 the deal or a server failed, 2 wrong input, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Directory of the embedded stack and of the runs. Default: HOLDFAST_HOME, or .holdfast where you are.",
        show_default=False,
    ),
]


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a title in Thai must not end a run
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup has its reasons
            signal.signal(number, signal.default_int_handler)
    try:
        app()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else FAILED
        if isinstance(end.code, str):
            typer.echo(end.code, err=True)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)  # the SDK's threads can crash a finalizing interpreter after all work is done


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


# The commands import what they need themselves, so that help, version and a mistyped file are answered at once.


@app.command()
def up(home: HomeOption = None) -> None:
    """Keep the embedded stack running, until Ctrl-C.

    That is PostgreSQL, Temporal with its UI, the payment sandbox and a worker. Whatever dies is started again, with
    its data and at the same address. `holdfast run` in the same directory uses this stack.
    """
    with _spoken():
        from starter.progress import Progress  # noqa: PLC0415
        from starter.servers import keep_up, read_settings  # noqa: PLC0415

        config = read_settings()
        with Progress() as progress:
            keep_up(config, home, progress)


@app.command()
def run(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help=f"A deal file in YAML, such as {EXAMPLE}.", show_default=False),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(
            help="Resume an interrupted run, or play one again: nothing moves a second time.", show_default=False
        ),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Play a deal and show what became of the money.

    Every action goes through the real workflows: on the stack that `holdfast up` keeps running in the same directory,
    or on one that is started for the time of the run. With HOLDFAST_DATABASE_URL and TEMPORAL_ADDRESS set, on those
    servers, with a worker that runs there.
    """
    with _spoken():
        if file is None:
            raise MisuseError(f"Missing argument 'FILE', a deal file in YAML. For example: {suggested('run', EXAMPLE)}")
        from starter.deals.deal import load  # noqa: PLC0415
        from starter.progress import Progress  # noqa: PLC0415

        deal = load(file)
        with Progress() as progress:
            for remark in deal.remarks:
                progress.say(remark)
            progress.doing("Getting ready.")
            from starter.deals.session import Session  # noqa: PLC0415

            session = Session(deal, file, home, progress)
            problems = session.resume(run_id) if run_id else session.begin()
        for problem in problems:  # once more: the report that has them may have gone into a file
            typer.echo(problem, err=True)
    raise typer.Exit(FAILED if problems else 0)


@app.command()
def report(
    kind: Annotated[Kind, typer.Argument(help="Which report; `tenants` lists whom there are books of.")],
    tenant: Annotated[str | None, typer.Option(help="Of whom, an id like ten_….", show_default=False)] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="DAY", help="First day that counts, UTC.", show_default=False)
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="First day that no longer counts.", show_default=False)
    ] = None,
    by: Annotated[By, typer.Option(help="Periods to divide it into.")] = By.TOTAL,
    format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TEXT,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to, instead of stdout.", show_default=False)
    ] = None,
    home: HomeOption = None,
) -> None:
    """Report on a tenant's money, from the ledger alone.

    Exit code 1 if a sum does not agree with another one that it has to agree with. docs/reports.md explains each.
    """
    with _spoken():
        from starter.reports.desk import Asked, answer_report  # noqa: PLC0415

        ties = answer_report(Asked(kind, tenant, start, end, by, format_, output), home)
    raise typer.Exit(0 if ties else FAILED)


@app.command()
def audit(
    escrow: Annotated[
        str | None, typer.Argument(metavar="ESCROW", help="An id like esc_….", show_default=False)
    ] = None,
    format_: Annotated[StoryFormat, typer.Option("--format", help="How to write it.")] = StoryFormat.TEXT,
    home: HomeOption = None,
) -> None:
    """Tell the story of an escrow: every command, accepted or refused, and the money that it moved.

    Exit code 1 if the record was tampered with.
    """
    with _spoken():
        from starter.reports.desk import answer_audit  # noqa: PLC0415

        whole = answer_audit(escrow, format_, home)
    raise typer.Exit(0 if whole else FAILED)


@app.command()
def verify(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's books.", show_default=False)] = None,
    escrow: Annotated[str | None, typer.Option(help="Only this escrow's.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    home: HomeOption = None,
) -> None:
    """Check the audit's hash chains and the money, and name the first broken row.

    Exit code 0 if everything is whole, 1 if anything is not.
    """
    with _spoken():
        from starter.reports.desk import answer_verify  # noqa: PLC0415

        whole = answer_verify(tenant, escrow, home, json=json)
    raise typer.Exit(0 if whole else FAILED)


@app.command()
def screen(
    party: Annotated[
        str | None, typer.Argument(metavar="PARTY", help="The tenant's own id of the party.", show_default=False)
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose party it is, an id like ten_….", show_default=False)] = None,
    home: HomeOption = None,
) -> None:
    """Screen a party as it is now, and have held payouts that may go now looked at again.

    The worker asks the provider that its settings name (HOLDFAST_BLOCKLIST); nobody is screened by itself. Exit code 0
    whatever comes of it, blocked or not; 1 if there is no answer.
    """
    with _spoken():
        from starter.screening import screen_one  # noqa: PLC0415

        typer.echo(screen_one(party, tenant, home))


@app.command()
def worker() -> None:
    """Run a worker for servers of your own.

    It needs HOLDFAST_DATABASE_URL, TEMPORAL_ADDRESS and the settings of Stripe, which .env.example describes. SIGTERM
    or Ctrl-C lets it finish what it has begun. The embedded stack has a worker already.
    """
    with _spoken():
        from starter.servers import external, read_settings, unreachable  # noqa: PLC0415

        servers = external(read_settings())
        if servers is None:
            raise MisuseError(
                "HOLDFAST_DATABASE_URL and TEMPORAL_ADDRESS say which servers to work for, and neither is set. "
                f"The embedded stack of `{suggested('up')}` needs no worker beside its own."
            )
        try:
            runpy.run_module("worker", run_name="__main__")
        except RuntimeError as error:
            raise StackError(f"The worker cannot start: {unreachable(servers.temporal, error)}") from error
        except SystemExit as end:
            raise MisuseError(str(end)) from end  # it says which setting is missing


@app.command()
def migrate() -> None:
    """Bring the schema of your own PostgreSQL up to date.

    It needs HOLDFAST_MIGRATION_URL, the role that owns the schema, and HOLDFAST_DATABASE_URL, whose role gets its
    rights. Running it again changes nothing. The embedded stack does this by itself.
    """
    with _spoken():
        from starter.servers import migrate_external, read_settings  # noqa: PLC0415

        migrate_external(read_settings())
        typer.echo("The schema is up to date.")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"holdfast {version_of('holdfast')}")


@contextmanager
def _spoken() -> Iterator[None]:
    """Turn what a person has to know into one message and an exit code. A traceback is for errors of the program."""
    try:
        yield
    except MisuseError as error:
        _say(error, MISUSED)
    except StackError as error:
        _say(error, FAILED)
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _say(error: Exception, code: int) -> None:
    typer.echo(str(error), err=True)
    raise typer.Exit(code) from error
