"""`payout`: look payouts up, and send what waits or has failed."""

from typing import Annotated

import typer

from models.states import PayoutStatus
from starter.commands.options import (
    AfterOption,
    HomeOption,
    IdOption,
    JsonOption,
    LimitOption,
    OperatorOption,
    TenantFilter,
    VersionOption,
    YesOption,
)
from starter.commands.speaking import say, spoken

payout = typer.Typer(help="Payouts: look them up, and send what waits or has failed.", no_args_is_help=True)

PayoutArgument = Annotated[str, typer.Argument(metavar="PAYOUT", help="An id like pay_….", show_default=False)]


@payout.command("list")
def list_(
    tenant: TenantFilter = None,
    status: Annotated[PayoutStatus | None, typer.Option(help="Only with this status.", show_default=False)] = None,
    party: Annotated[str | None, typer.Option(help="Only to this party.", show_default=False)] = None,
    limit: LimitOption = 20,
    after: AfterOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List payouts of all tenants, or some of them."""
    with spoken(as_json=json):
        from ledger.oversight import Wanted
        from starter.operating.lookup import look_up

        said = {"tenant": tenant, "status": status, "party": party}
        matching = {name: str(value) for name, value in said.items() if value is not None}
        say(*look_up(Wanted("payout", limit, after, matching), home, quiet=json), as_json=json)


@payout.command("show")
def show(payout_id: PayoutArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one payout."""
    with spoken(as_json=json):
        from starter.operating import lookup

        say(*lookup.show("payout", payout_id, home, quiet=json), as_json=json)


@payout.command("request")
def request(
    payout_id: PayoutArgument,
    operator: OperatorOption,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Ask for a payout that waits: it goes if it may."""
    with spoken(as_json=json):
        from models.commands import RequestPayout
        from starter.operating import orders

        wish = orders.Wish(RequestPayout, "payout", payout_id, asks=lambda found: orders.to_send(found, payout_id))
        sending = orders.Sending(operator, id_, expect_version, home, quiet=json, yes=yes)
        say(*orders.send(wish, sending), as_json=json)


@payout.command("retry")
def retry(
    payout_id: PayoutArgument,
    operator: OperatorOption,
    destination: Annotated[
        str | None, typer.Option("--destination", help="Another account to send it to.", show_default=False)
    ] = None,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Send a payout again that failed or came back."""
    with spoken(as_json=json):
        from models.commands import RetryPayout
        from starter.operating import orders

        wish = orders.Wish(
            RetryPayout,
            "payout",
            payout_id,
            lambda _: {"destination": destination},
            asks=lambda found: orders.to_send(found, payout_id),
        )
        sending = orders.Sending(operator, id_, expect_version, home, quiet=json, yes=yes)
        say(*orders.send(wish, sending), as_json=json)
