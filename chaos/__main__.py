"""``make chaos``: a marketplace under load while everything is killed, stopped and lied to. Does it add up?"""

import argparse
import os
import secrets
import sys
from pathlib import Path

from rich.console import Console

from chaos import plan as plans
from chaos.run import run
from chaos.table import tables


def main() -> None:
    """Run and say what came of it; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=20, help="how many at a time (default: %(default)s)")
    parser.add_argument("--every", type=float, default=6, help="seconds between faults, about (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of chance (default: a new one)")
    parser.add_argument("--quick", action="store_true", help="every kind of fault once, as the tests do")
    parser.add_argument("--keep", type=Path, help="a new directory for all data and logs, kept whatever comes of it")
    options = parser.parse_args()
    console = Console()
    plan = (
        plans.quick(options.seed)
        if options.quick
        else plans.long(options.minutes, options.clients, options.every, options.seed)
    )
    outcome = run(plan, console.print, options.keep)
    for table in tables(outcome):
        console.print(table)
    for one in outcome.wrong:
        console.print(f"WRONG: {one}", markup=False)
    if plan.proves_little:
        console.print("This run was shorter than a minute: that nothing is wrong proves little.")
    again = "--quick" if options.quick else f"--minutes {options.minutes:g} --clients {options.clients}"
    console.print(
        f"The same chances again: {sys.executable} -m chaos {again} --every {options.every:g} --seed {options.seed}"
    )
    sys.stdout.flush()
    os._exit(1 if outcome.wrong else 0)  # the SDK's threads can crash a finalizing interpreter


if __name__ == "__main__":
    main()
