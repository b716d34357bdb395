"""`dispute`: look disputes up, take them, judge them, close them."""

from typing import Annotated, Literal

import typer

from models.states import DisputeStatus
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

dispute = typer.Typer(help="Disputes: look them up, take them, judge them.", no_args_is_help=True)

DisputeArgument = Annotated[str, typer.Argument(metavar="DISPUTE", help="An id like dsp_….", show_default=False)]
Resolution = Literal["buyer_favor", "seller_favor", "partial_refund", "split", "mediation"]


@dispute.command("list")
def list_(
    tenant: TenantFilter = None,
    status: Annotated[DisputeStatus | None, typer.Option(help="Only with this status.", show_default=False)] = None,
    limit: LimitOption = 20,
    after: AfterOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List disputes of all tenants, or some of them."""
    with spoken(as_json=json):
        from ledger.oversight import Wanted
        from starter.operating.lookup import look_up

        said = {"tenant": tenant, "status": status}
        matching = {name: str(value) for name, value in said.items() if value is not None}
        say(*look_up(Wanted("dispute", limit, after, matching), home, quiet=json), as_json=json)


@dispute.command("show")
def show(dispute_id: DisputeArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one dispute with what both sides say."""
    with spoken(as_json=json):
        from starter.operating import lookup

        say(*lookup.show("dispute", dispute_id, home, quiet=json), as_json=json)


@dispute.command("review")
def review(
    dispute_id: DisputeArgument,
    operator: OperatorOption,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take a dispute, which comes before judging it. No money moves."""
    with spoken(as_json=json):
        from models.commands import ReviewDispute
        from starter.operating import orders

        wish = orders.Wish(ReviewDispute, "dispute", dispute_id)
        sending = orders.Sending(operator, id_, expect_version, home, quiet=json)
        say(*orders.send(wish, sending), as_json=json)


@dispute.command("resolve")
def resolve(
    dispute_id: DisputeArgument,
    operator: OperatorOption,
    resolution: Annotated[Resolution, typer.Option("--resolution", help="Who gets the money.")],
    details: Annotated[str, typer.Option("--details", help="Why; both sides read it, and the audit keeps it.")],
    *,
    refund_amount: Annotated[
        str | None,
        typer.Option(
            "--refund-amount",
            help="With partial_refund: what the buyer gets, with all decimals of the currency, like 400.00.",
            show_default=False,
        ),
    ] = None,
    seller_share: Annotated[
        str | None,
        typer.Option(
            "--seller-share", help="With split: the seller's part, from 0 to 1, like 0.7.", show_default=False
        ),
    ] = None,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Judge a dispute that is under review: the money goes where the resolution says."""
    with spoken(as_json=json):
        from models.commands import ResolveDispute
        from starter.operating import orders

        orders.resolution(resolution, refund_amount, seller_share)
        wish = orders.Wish(
            ResolveDispute,
            "dispute",
            dispute_id,
            lambda found: {
                "resolution": resolution,
                "details": details,
                "seller_share": seller_share,
                "refund_amount": refund_amount and orders.amount("--refund-amount", refund_amount, found.currency),
            },
            asks=lambda found: f"Resolve over {found.money(found.disputed)}: {resolution}.",
        )
        sending = orders.Sending(operator, id_, expect_version, home, quiet=json, yes=yes)
        say(*orders.send(wish, sending), as_json=json)


@dispute.command("close")
def close(
    dispute_id: DisputeArgument,
    operator: OperatorOption,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Close the file of a dispute that is resolved. No money moves."""
    with spoken(as_json=json):
        from models.commands import CloseDispute
        from starter.operating import orders

        wish = orders.Wish(CloseDispute, "dispute", dispute_id)
        sending = orders.Sending(operator, id_, expect_version, home, quiet=json)
        say(*orders.send(wish, sending), as_json=json)
