"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Directory of the embedded stack and of the runs. Default: HOLDFAST_HOME, or .holdfast where you are.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, errors too.")]
TenantFilter = Annotated[
    str | None, typer.Option("--tenant", help="Only of this tenant, an id like ten_….", show_default=False)
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many at most, the newest first.")]
AfterOption = Annotated[
    str | None,
    typer.Option(
        "--after", metavar="ID", help="Go on after this one, the last of the page before.", show_default=False
    ),
]
OperatorOption = Annotated[str, typer.Option("--operator", metavar="NAME", help="Who you are: the audit keeps it.")]
ReasonOption = Annotated[str | None, typer.Option("--reason", help="Why; the audit keeps it.", show_default=False)]
VersionOption = Annotated[
    int | None,
    typer.Option(
        "--expect-version", min=1, help="Only if this is still the version of the escrow.", show_default=False
    ),
]
IdOption = Annotated[
    str | None,
    typer.Option(
        "--id",
        help="The id of the command: the same id again moves nothing a second time. Default: a new one, which is told.",
        show_default=False,
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask before money moves.")]
