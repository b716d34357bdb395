"""Commands that look at the books: `report`, `audit`, `verify`; and those that see to them: `screen`, `repair`."""

from pathlib import Path
from typing import Annotated

import typer

from starter.commands.options import HomeOption, JsonOption, TenantFilter
from starter.commands.speaking import say, spoken
from starter.endings import FAILED
from starter.reports.choices import By, Format, Kind, StoryFormat


def report(
    kind: Annotated[Kind, typer.Argument(help="Which report; `tenants` lists whom there are books of.")],
    *,
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
    json: Annotated[bool, typer.Option("--json", help="The same as --format json; errors too.")] = False,
) -> None:
    """Report on a tenant's money, from the ledger alone.

    Exit code 1 if a sum does not agree with another one that it has to agree with. docs/reports.md explains each.
    """
    with spoken(as_json=json):
        from starter.reports.desk import Asked, answer_report

        wanted = Format.JSON if json else format_
        ties = answer_report(Asked(kind, tenant, start, end, by, wanted, output, quiet=json), home)
    raise typer.Exit(0 if ties else FAILED)


def audit(
    escrow: Annotated[
        str | None, typer.Argument(metavar="ESCROW", help="An id like esc_….", show_default=False)
    ] = None,
    format_: Annotated[StoryFormat, typer.Option("--format", help="How to write it.")] = StoryFormat.TEXT,
    home: HomeOption = None,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json; errors too.")] = False,
) -> None:
    """Tell the story of an escrow: every command, accepted or refused, and the money that it moved.

    Exit code 1 if the record was tampered with.
    """
    with spoken(as_json=json):
        from starter.reports.desk import answer_audit

        whole = answer_audit(escrow, StoryFormat.JSON if json else format_, home, quiet=json)
    raise typer.Exit(0 if whole else FAILED)


def verify(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's books.", show_default=False)] = None,
    escrow: Annotated[str | None, typer.Option(help="Only this escrow's.", show_default=False)] = None,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Check the audit's hash chains and the money, and name the first broken row.

    Exit code 0 if everything is whole, 1 if anything is not.
    """
    with spoken(as_json=json):
        from starter.reports.desk import answer_verify

        whole = answer_verify(tenant, escrow, home, json=json)
    raise typer.Exit(0 if whole else FAILED)


def screen(
    party: Annotated[
        str | None, typer.Argument(metavar="PARTY", help="The tenant's own id of the party.", show_default=False)
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose party it is, an id like ten_….", show_default=False)] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Screen a party as it is now, and have held payouts that may go now looked at again.

    The worker asks the provider that its settings name (HOLDFAST_BLOCKLIST); nobody is screened by itself. Exit code 0
    whatever comes of it, blocked or not; 1 if there is no answer.
    """
    with spoken(as_json=json):
        from starter.screening import screen_one

        result = screen_one(party, tenant, home, quiet=json)
        document = {"party": party, "tenant": tenant, **result.model_dump(mode="json")}
        say(f"{party}: {result}", document, as_json=json)


def repair(
    tenant: TenantFilter = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Ask every workflow what it knows, not only those that look late.")
    ] = False,
    restart_stuck: Annotated[
        bool, typer.Option("--restart-stuck", help="Start those anew, too, that no worker can go on with.")
    ] = False,
    screen: Annotated[
        bool, typer.Option("--screen", help="Have every seller who may still be paid screened again, too.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Bring back whatever workflows have to look after, from the books: after a loss of Temporal's data, all of it.

    Looks at every escrow that is not over: a workflow that is missing, was terminated or closed starts again, one that
    is behind reads the books. Charges that nobody asks about are asked about again, and what tells, posts and listens
    for all runs again. Money moves only as it would have. Doing it twice starts nothing twice. Exit code 1 if something
    is left that a person has to see to.
    """
    with spoken(as_json=json):
        from starter.operating.repair import Wanted
        from starter.operating.repair import repair as repaired

        wanted = Wanted(tenant, dry_run, thorough, restart_stuck, screen)
        text, document, whole = repaired(wanted, home, quiet=json)
        say(text, document, as_json=json)
    raise typer.Exit(0 if whole else FAILED)


def reencrypt(home: HomeOption = None, json: JsonOption = False) -> None:
    """Encrypt personal data under the current key, so that an older one can be retired.

    After a new key was put first in HOLDFAST_KEYS everywhere. It may be stopped and run again, beside everything else.
    """
    with spoken(as_json=json):
        from starter.operating.renewal import renew

        renewed = renew(home, quiet=json)
        say(f"Encrypted again: {renewed} parties.", {"renewed": renewed}, as_json=json)
