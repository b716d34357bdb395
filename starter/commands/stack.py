"""Commands about servers: `up`, `api`, `worker`, `migrate`."""

import runpy
from pathlib import Path
from typing import Annotated

import typer

from starter.commands.options import HomeOption, JsonOption
from starter.commands.speaking import say, spoken
from starter.embedded.child import StackError
from starter.invocation import suggested
from starter.misuse import MisuseError

# The commands import what they need themselves, so that help, version and a mistyped file are answered at once.


FaultPlanOption = Annotated[
    Path | None,
    typer.Option(
        "--fault-plan",
        metavar="FILE",
        help="JSON file that says what goes wrong at the payment sandbox: docs/sandbox.md.",
        show_default=False,
    ),
]


def up(home: HomeOption = None, fault_plan: FaultPlanOption = None, json: JsonOption = False) -> None:
    """Keep the embedded stack running, until Ctrl-C.

    That is PostgreSQL, Temporal with its UI, the payment sandbox, a worker and the HTTP API. Whatever dies is started
    again, with its data and at the same address. `holdfast run` in the same directory uses this stack. With --json one
    line says where everything is, as soon as it works.
    """
    with spoken(as_json=json):
        from starter.progress import Progress
        from starter.servers import keep_up, read_settings

        config = read_settings()
        with Progress(quiet=json) as progress:
            keep_up(config, home, progress, fault_plan=fault_plan, as_json=json)


def api(json: JsonOption = False) -> None:
    """Run the HTTP API for servers of your own.

    It needs HOLDFAST_API_DATABASE_URL, TEMPORAL_ADDRESS and HOLDFAST_KEYS, which .env.example describes, and listens at
    HOLDFAST_API_HOST and HOLDFAST_API_PORT. The embedded stack of `holdfast up` has the API already.
    """
    with spoken(as_json=json):
        import os

        from starter.servers import read_settings

        config = read_settings()
        needed = {
            "HOLDFAST_API_DATABASE_URL": config.api_database_url,
            "TEMPORAL_ADDRESS": os.environ.get("TEMPORAL_ADDRESS"),
            "HOLDFAST_KEYS": config.keys,
        }
        if missing := [name for name, value in needed.items() if not value]:
            raise MisuseError(
                f"{' and '.join(missing)} must be set to run the API for servers of your own: see .env.example. "
                f"The embedded stack of `{suggested('up')}` has an API of its own."
            )
        _run_module("starter.api", "The API")


def worker(json: JsonOption = False) -> None:
    """Run a worker for servers of your own.

    It needs HOLDFAST_DATABASE_URL, TEMPORAL_ADDRESS, HOLDFAST_KEYS and the settings of Stripe, which .env.example
    describes. SIGTERM or Ctrl-C lets it finish what it has begun. The embedded stack has a worker already.
    """
    with spoken(as_json=json):
        from starter.servers import external, read_settings

        if external(read_settings()) is None:
            raise MisuseError(
                "HOLDFAST_DATABASE_URL and TEMPORAL_ADDRESS say which servers to work for, and neither is set. "
                f"The embedded stack of `{suggested('up')}` needs no worker beside its own."
            )
        _run_module("worker", "The worker")


def migrate(json: JsonOption = False) -> None:
    """Bring the schema of your own PostgreSQL up to date.

    It needs HOLDFAST_MIGRATION_URL, the role that owns the schema, and HOLDFAST_DATABASE_URL and
    HOLDFAST_API_DATABASE_URL, whose roles get their rights. Running it again changes nothing. The embedded stack does
    this by itself.
    """
    with spoken(as_json=json):
        from starter.servers import migrate_external, read_settings

        migrate_external(read_settings())
        say("The schema is up to date.", {"up_to_date": True}, as_json=json)


def _run_module(name: str, what: str) -> None:
    """Become the program of that name. Raises ``MisuseError`` for what it says is missing, ``StackError``."""
    import os

    from starter.servers import unreachable

    try:
        runpy.run_module(name, run_name="__main__")
    except RuntimeError as error:
        temporal = {"target_host": os.environ.get("TEMPORAL_ADDRESS")}
        raise StackError(f"{what} cannot start: {unreachable(temporal, error)}") from error
    except SystemExit as end:
        if end.code is None or end.code == 0:
            return
        if isinstance(end.code, int):
            raise typer.Exit(end.code) from end
        raise MisuseError(str(end)) from end  # it says which setting is missing
