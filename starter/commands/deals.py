"""Commands that play deals: `run`, `demo`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from starter.commands.options import HomeOption, JsonOption
from starter.commands.speaking import complain, spoken
from starter.endings import FAILED
from starter.invocation import EXAMPLE, suggested
from starter.misuse import MisuseError

# A link to the example, so that a wheel has it too.
_DEMO: Final = Path(__file__).parents[1] / "deals" / Path(EXAMPLE).name


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
    json: JsonOption = False,
) -> None:
    """Play a deal and show what became of the money.

    Every action goes through the real workflows: on the stack that `holdfast up` keeps running in the same directory,
    or on one that is started for the time of the run. With HOLDFAST_DATABASE_URL and TEMPORAL_ADDRESS set, on those
    servers, with a worker that runs there.
    """
    with spoken(as_json=json):
        if file is None:
            raise MisuseError(f"Missing argument 'FILE', a deal file in YAML. For example: {suggested('run', EXAMPLE)}")
    _play(file, run_id, home, as_json=json)


def demo(home: HomeOption = None, json: JsonOption = False) -> None:
    """Play the website redesign for EUR 5,000 that comes with Holdfast, from any directory.

    It is examples/website-redesign.yaml, and this is `holdfast run` of it.
    """
    with spoken(as_json=json):
        if not _DEMO.exists():
            raise MisuseError(
                f"This installation has no {_DEMO.name}: play another deal with `{suggested('run')} FILE`, or install "
                "Holdfast again from its repository."
            )
    _play(_DEMO.resolve(), None, home, as_json=json)


def _play(file: Path, run_id: str | None, home: Path | None, *, as_json: bool) -> None:
    with spoken(as_json=as_json):
        from starter.deals.deal import load
        from starter.progress import Progress

        deal = load(file)
        with Progress(quiet=as_json) as progress:
            for remark in deal.remarks:
                progress.say(remark)
            progress.doing("Getting ready.")
            from starter.deals.session import Session

            session = Session(deal, file, home, progress, as_json=as_json)
            problems = session.resume(run_id) if run_id else session.begin()
    if problems:  # once more: the report that has them may have gone into a file
        raise complain("deal_failed", "\n".join(problems), FAILED, as_json=as_json)
