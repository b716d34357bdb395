"""`escrow`: look escrows up, and act on them as an operator."""

from typing import Annotated

import typer

from models.states import State
from starter.commands.options import (
    AfterOption,
    HomeOption,
    IdOption,
    JsonOption,
    LimitOption,
    OperatorOption,
    ReasonOption,
    TenantFilter,
    VersionOption,
    YesOption,
)
from starter.commands.speaking import say, spoken

escrow = typer.Typer(help="Escrows: look them up, and act on them as an operator.", no_args_is_help=True)

EscrowArgument = Annotated[str, typer.Argument(metavar="ESCROW", help="An id like esc_….", show_default=False)]
MilestoneArgument = Annotated[
    str, typer.Argument(metavar="MILESTONE", help="Its number, from 1, or an id like mil_….", show_default=False)
]


@escrow.command("list")
def list_(
    tenant: TenantFilter = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.", show_default=False)] = None,
    buyer: Annotated[str | None, typer.Option(help="Only of this buyer.", show_default=False)] = None,
    seller: Annotated[str | None, typer.Option(help="Only of this seller.", show_default=False)] = None,
    limit: LimitOption = 20,
    after: AfterOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List escrows of all tenants, or some of them."""
    with spoken(as_json=json):
        from ledger.oversight import Wanted
        from starter.operating.lookup import look_up

        said = {"tenant": tenant, "state": state, "buyer": buyer, "seller": seller}
        matching = {name: str(value) for name, value in said.items() if value is not None}
        say(*look_up(Wanted("escrow", limit, after, matching), home, quiet=json), as_json=json)


@escrow.command("show")
def show(escrow_id: EscrowArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one escrow with its milestones, disputes and payouts."""
    with spoken(as_json=json):
        from starter.operating import lookup

        say(*lookup.show("escrow", escrow_id, home, quiet=json), as_json=json)


@escrow.command("approve")
def approve(
    escrow_id: EscrowArgument,
    milestone: MilestoneArgument,
    operator: OperatorOption,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Accept a milestone in the buyer's place: its money is released to the seller."""
    with spoken(as_json=json):
        from models.commands import ApproveMilestone
        from starter.operating import orders

        wish = orders.Wish(
            ApproveMilestone,
            "escrow",
            escrow_id,
            lambda found: {"milestone": orders.milestone(found, milestone)},
            asks=lambda found: f"Release milestone {milestone} to {found.seller}.",
        )
        sending = orders.Sending(operator, id_, expect_version, home, quiet=json, yes=yes)
        say(*orders.send(wish, sending), as_json=json)


@escrow.command("reverse")
def reverse(
    escrow_id: EscrowArgument,
    milestone: MilestoneArgument,
    operator: OperatorOption,
    amount: Annotated[str, typer.Option("--amount", help="How much, with all decimals of the currency, like 400.00.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; the audit keeps it.")],
    *,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Return a part of a milestone to the buyer: of what is held, or after its release from what the seller has."""
    with spoken(as_json=json):
        from models.commands import ReverseMilestone
        from starter.operating import orders

        wish = orders.Wish(
            ReverseMilestone,
            "escrow",
            escrow_id,
            lambda found: {
                "milestone": orders.milestone(found, milestone),
                "amount": orders.amount("--amount", amount, found.currency),
                "reason": reason,
            },
            asks=lambda found: f"Return {amount} {found.currency} of milestone {milestone} to {found.buyer}.",
        )
        sending = orders.Sending(operator, id_, expect_version, home, quiet=json, yes=yes)
        say(*orders.send(wish, sending), as_json=json)


@escrow.command("complete")
def complete(
    escrow_id: EscrowArgument,
    operator: OperatorOption,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Release all that is still held to the seller."""
    with spoken(as_json=json):
        from models.commands import Complete
        from starter.operating import orders

        wish = orders.Wish(
            Complete,
            "escrow",
            escrow_id,
            asks=lambda found: f"Release {found.money(found.held)} to {found.seller}.",
        )
        sending = orders.Sending(operator, id_, expect_version, home, quiet=json, yes=yes)
        say(*orders.send(wish, sending), as_json=json)


@escrow.command("cancel")
def cancel(
    escrow_id: EscrowArgument,
    operator: OperatorOption,
    reason: ReasonOption = None,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """End an escrow: what is still held returns to the buyer, the seller keeps what was approved."""
    with spoken(as_json=json):
        from models.commands import Cancel
        from starter.operating import orders

        sending = orders.Sending(operator, id_, expect_version, home, quiet=json, yes=yes)
        say(*orders.send(orders.ending(Cancel, escrow_id, reason), sending), as_json=json)


@escrow.command("refund")
def refund(
    escrow_id: EscrowArgument,
    operator: OperatorOption,
    reason: ReasonOption = None,
    expect_version: VersionOption = None,
    id_: IdOption = None,
    yes: YesOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Return everything to the buyer before the work has started."""
    with spoken(as_json=json):
        from models.commands import Refund
        from starter.operating import orders

        sending = orders.Sending(operator, id_, expect_version, home, quiet=json, yes=yes)
        say(*orders.send(orders.ending(Refund, escrow_id, reason), sending), as_json=json)
