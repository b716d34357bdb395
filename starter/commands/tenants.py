"""`tenant`: the marketplaces that use the API, their books and their keys. And `test-clock`, the time of a test one."""

from typing import Annotated

import typer

from starter.commands.options import AfterOption, HomeOption, JsonOption, LimitOption
from starter.commands.speaking import say, spoken

tenant = typer.Typer(help="Tenants of the API: make them, list them, and see to their keys.", no_args_is_help=True)
test_clock = typer.Typer(help="The clock of a test tenant.", no_args_is_help=True)

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="An id like ten_….", show_default=False)]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY_ID", help="An id like key_….", show_default=False)]
KeysTenant = Annotated[str, typer.Option("--tenant", help="Whose key it is, an id like ten_….")]


@tenant.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the marketplace is called.", show_default=False)],
    reporting_currency: Annotated[
        str, typer.Option("--reporting-currency", metavar="CODE", help="What it reports in, such as EUR.")
    ],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a tenant with live books, books for rehearsals, and two keys for each, which are shown this once."""
    with spoken(as_json=json):
        from starter.operating import accounts

        say(*accounts.create(name, reporting_currency, home, quiet=json), as_json=json)


@tenant.command("list")
def list_(
    limit: LimitOption = 20, after: AfterOption = None, home: HomeOption = None, json: JsonOption = False
) -> None:
    """List the tenants."""
    with spoken(as_json=json):
        from ledger.oversight import Wanted
        from starter.operating.lookup import look_up

        say(*look_up(Wanted("tenant", limit, after), home, quiet=json), as_json=json)


@tenant.command("show")
def show(tenant_id: TenantArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one tenant."""
    with spoken(as_json=json):
        from starter.operating import lookup

        say(*lookup.show("tenant", tenant_id, home, quiet=json), as_json=json)


@tenant.command("keys")
def keys(tenant_id: TenantArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """List the API keys of a tenant and of its rehearsals, without the keys themselves."""
    with spoken(as_json=json):
        from starter.operating import accounts

        say(*accounts.list_keys(tenant_id, home, quiet=json), as_json=json)


@tenant.command("rotate-key")
def rotate_key(
    key: KeyArgument,
    tenant_id: KeysTenant,
    grace: Annotated[
        str, typer.Option("--grace", metavar="DURATION", help="How long the old one still works, up to P30D.")
    ] = "P1D",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a new key like this one, which stops working after a while."""
    with spoken(as_json=json):
        from starter.operating import accounts
        from starter.operating.clock import duration

        say(*accounts.rotate(key, tenant_id, duration("--grace", grace), home, quiet=json), as_json=json)


@tenant.command("revoke-key")
def revoke_key(key: KeyArgument, tenant_id: KeysTenant, home: HomeOption = None, json: JsonOption = False) -> None:
    """Let a key open nothing any more, at once."""
    with spoken(as_json=json):
        from starter.operating import accounts

        say(*accounts.revoke(key, tenant_id, home, quiet=json), as_json=json)


@test_clock.callback()
def _of_tests() -> None:
    """The clock of a test tenant."""


@test_clock.command("advance")
def advance(
    tenant_id: Annotated[str, typer.Option("--tenant", help="Whose clock, an id like ten_…; a test one.")],
    by: Annotated[
        str | None, typer.Option("--by", metavar="DURATION", help="How much further, like P14D.", show_default=False)
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="DURATION",
            help="How far ahead of the real time in all; can be repeated without harm.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Move the clock ahead; ends when every deadline that came due has been handled."""
    with spoken(as_json=json):
        from starter.operating import clock

        say(*clock.advance(tenant_id, by, to, home, quiet=json), as_json=json)
