"""``make bench``: measure settlements and lives on an embedded stack of its own, print a table, write results.json.

Read docs/performance.md beside the figures: what each side does, and what they say about your machine.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks import approvals, lives, settlements
from benchmarks.figures import Figure, table, write
from starter.embedded.stack import Stack

RESULTS = Path(__file__).parent / "results.json"
_FULL = (settlements.Size(rounds=5, alone=150, together=960), lives.Size(rounds=3, each=2))
# Seconds, and clients at a time.
_DAY, _QUICK_DAY = (60.0, 50), (5.0, 4)
_QUICK = (settlements.Size(rounds=2, alone=40, together=160), lives.Size(rounds=1, each=1))


def main() -> None:
    """Run everything; with ``--quick`` just enough to see that it works."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a smoke test: one or two small rounds, no figures to trust"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures go (default: %(default)s)")
    options = parser.parse_args()
    console = Console()
    figures = measure(console, *(_QUICK if options.quick else _FULL))
    with console.status("a day of a marketplace over HTTP"):
        figures += approvals.measure(*(_QUICK_DAY if options.quick else _DAY))
    write(figures, options.output)
    console.print(table(figures))
    console.print(f"Written to {options.output}. A ratio above 1 means more than the yardstick in 'against'.")


def measure(console: Console, settling: settlements.Size, living: lives.Size) -> list[Figure]:
    """Bring a stack up in a temporary directory, run both benchmarks and take it down again."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as place, console.status("starting") as status:
        directory = Path(place)
        with Stack(directory / "stack", progress=status.update, worker=False) as endpoints:
            figures = settlements.measure(endpoints, directory, settling, status.update)
            return figures + asyncio.run(lives.measure(endpoints, directory, living, status.update))


if __name__ == "__main__":
    main()
