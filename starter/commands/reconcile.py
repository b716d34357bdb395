"""`reconcile`: compare the books with the provider's, look at what differs, and correct it."""

from typing import Annotated, Literal

import typer

from starter.commands.options import AfterOption, HomeOption, JsonOption, OperatorOption, YesOption
from starter.commands.speaking import say, spoken
from starter.endings import DONE, FAILED
from starter.misuse import MisuseError

reconcile = typer.Typer()

DifferenceArgument = Annotated[str, typer.Argument(metavar="DIFFERENCE", help="An id like dif_….", show_default=False)]
ShownArgument = Annotated[
    str, typer.Argument(metavar="DIFFERENCE", help="An id like dif_…, or that of its correction.", show_default=False)
]
CorrectionArgument = Annotated[str, typer.Argument(metavar="CORRECTION", help="An id like cor_….", show_default=False)]
MostOption = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most.")]
Status = Literal["open", "healed", "corrected", "all"]


@reconcile.callback(invoke_without_command=True)
def round_(context: typer.Context, home: HomeOption = None, json: JsonOption = False) -> None:
    """Compare everything now, or follow the round that runs, and list what differs.

    Reads what the provider moved, compares it with the books, the books with the workflows and with themselves, and
    heals what is certain. A provider that is away is asked again, for up to twelve hours; Ctrl-C leaves the round
    running, and the same command follows it. Exit code 0 if nothing is left open but what is late, 1 if anything else
    is or could not be compared. docs/reconciliation.md explains each cause.
    """
    with spoken(as_json=json):
        if context.invoked_subcommand is not None:
            if json or home is not None:
                raise MisuseError(f"Say --json and --home after `reconcile {context.invoked_subcommand}`.")
            return
        from starter.operating.rounds import reconcile_now

        text, document, agrees = reconcile_now(home, quiet=json)
        say(text, document, as_json=json)
    raise typer.Exit(DONE if agrees else FAILED)


@reconcile.command("list")
def list_(
    status: Annotated[Status, typer.Option(help="Which differences.")] = "open",
    limit: MostOption = 20,
    after: AfterOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List what differs, or differed, the oldest first, as the last round found it."""
    with spoken(as_json=json):
        from starter.operating import reconciling

        say(*reconciling.listed(None if status == "all" else status, limit, after, home, quiet=json), as_json=json)


@reconcile.command("show")
def show(difference: ShownArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one difference with what both sides say of it, and what was proposed."""
    with spoken(as_json=json):
        from starter.operating import reconciling

        say(*reconciling.shown(difference, home, quiet=json), as_json=json)


@reconcile.command("rounds")
def rounds(limit: MostOption = 10, home: HomeOption = None, json: JsonOption = False) -> None:
    """List the last rounds, the newest first."""
    with spoken(as_json=json):
        from starter.operating import reconciling

        say(*reconciling.rounds(limit, home, quiet=json), as_json=json)


@reconcile.command("correct")
def correct(
    difference: DifferenceArgument,
    operator: OperatorOption,
    reason: Annotated[str, typer.Option("--reason", help="Why; the books keep it.", show_default=False)],
    amount: Annotated[
        str | None,
        typer.Option("--amount", help="A part of what differs, like 400.00. Default: all of it.", show_default=False),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            "--tenant",
            help="In whose books, an id like ten_…, where the difference is about nobody that we know.",
            show_default=False,
        ),
    ] = None,
    *,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Have the books say what the provider says, by new entries against suspense.

    Up to HOLDFAST_CORRECTION_LIMIT they are booked at once; above it another operator has to approve.
    """
    with spoken(as_json=json):
        from starter.operating import correcting

        asked = correcting.Asked(operator, home, quiet=json, yes=yes)
        say(*correcting.correct(difference, amount, tenant, reason, asked), as_json=json)


@reconcile.command("approve")
def approve(
    correction: CorrectionArgument,
    operator: OperatorOption,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; the books keep it.", show_default=False)] = None,
    *,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Book a correction that another operator proposed."""
    with spoken(as_json=json):
        from starter.operating import correcting

        asked = correcting.Asked(operator, home, quiet=json, yes=yes)
        say(*correcting.approve(correction, reason, asked), as_json=json)


@reconcile.command("reject")
def reject(
    correction: CorrectionArgument,
    operator: OperatorOption,
    reason: Annotated[str, typer.Option("--reason", help="Why; the books keep it.", show_default=False)],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Close a correction that waits, without booking it."""
    with spoken(as_json=json):
        from starter.operating import correcting

        asked = correcting.Asked(operator, home, quiet=json)
        say(*correcting.reject(correction, reason, asked), as_json=json)
