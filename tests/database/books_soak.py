"""Play stories with new seeds for as long as one likes: ``make soak``, or ``make soak SOAK_MINUTES=60``.

``SOAK_SEED`` plays one seed again and looks for its shortest failing story.
"""

import os
import secrets
import sys
import traceback
from time import monotonic
from typing import Final

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from tests.database.books_machine import Tally
from tests.database.books_stories import Stories

STEPS: Final = 100
# The noughts and one story. Of more the rest would be variations of the first: other seeds make other stories.
_EXAMPLES: Final = 2
_TELL_EVERY_SECONDS: Final = 3


def play(engine: Engine, number: int, tally: Tally, *, shrink: bool = False) -> None:
    """Play one story from a seed; raises what the first difference between books and model says."""
    machine = seed(number)(type("Stories", (Stories,), {"engine": engine, "tally": tally}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=_EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, print_blob=False,
            phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
            suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
        ),
    )  # fmt: skip


def soak(engine: Engine, minutes: float, number: int | None, say: Tally) -> bool:
    """Play until the time is over; answers whether books and model agreed."""
    end, told = monotonic() + 60 * minutes, monotonic()
    while True:
        current = secrets.randbelow(10**9) if number is None else number
        try:
            play(engine, current, say, shrink=number is not None)
        except Exception:  # noqa: BLE001 - whatever it is, it is told with the seed that shows it again
            _tell(f"{say.story()}\n{traceback.format_exc()}\nAgain, and shorter: make soak SOAK_SEED={current}")
            return False
        if monotonic() - told > _TELL_EVERY_SECONDS:
            told = monotonic()
            _tell(f"seed {current}: {say.summary()}")
        if number is not None or monotonic() >= end:
            return True


def main() -> int:
    """The exit code: 0 where books and model agreed until the end or until somebody stopped it."""
    from tests.servers import servers

    minutes, number = float(os.environ.get("SOAK_MINUTES") or 10), os.environ.get("SOAK_SEED")
    tally, agreed = Tally(), True
    with servers() as running:
        try:
            agreed = soak(running.engine, minutes, int(number) if number else None, tally)
        except KeyboardInterrupt:
            _tell("stopped")
    _tell(tally.table())
    return 0 if agreed else 1


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
