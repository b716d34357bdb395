"""``make races``: RACES_ROUNDS rounds of conflicting commands straight at the books, then over HTTP.

RACES_SEED fires the same commands again, though nothing makes the timing the same. Ctrl-C ends it early.
"""

import os
import secrets
import sys
import tempfile
import traceback
from pathlib import Path
from time import monotonic
from typing import Final

from tests.database.books_machine import Tally
from tests.races.arena import RACES_OF_A_TOWN, play, without_deadlocks
from tests.races.over_http import ROUNDS, ring
from tests.servers import Servers, servers

_TELL_EVERY_SECONDS: Final = 5
# A round over HTTP costs about this many rounds at the books.
_DEARER: Final = 20
_MISUSED: Final = 2


def main() -> int:
    """The exit code: 0 where every answer was one that the models allow, and PostgreSQL saw no deadlock."""
    if len(sys.argv) > 1:
        _say(__doc__ or "")
        return 0 if sys.argv[1:] in (["--help"], ["-h"]) else _MISUSED
    try:
        rounds, seed = _number("RACES_ROUNDS", 5000), _number("RACES_SEED", secrets.randbelow(10**9))
    except ValueError as error:
        _say(str(error))
        return _MISUSED
    try:
        with servers() as running:
            _straight(running, seed, rounds)
            _over_http(running, seed, max(len(ROUNDS), rounds // _DEARER))
    except KeyboardInterrupt:
        _say("stopped")
    except Exception:  # noqa: BLE001 - whatever it is, it is told with the seed that fires the same commands
        _say(f"{traceback.format_exc()}\nAgain: make races RACES_SEED={seed} RACES_ROUNDS={rounds}")
        return 1
    return 0


def _number(name: str, otherwise: int) -> int:
    """A variable of the environment. Raises ``ValueError``, in words for people."""
    said = os.environ.get(name) or str(otherwise)
    if not (said.isascii() and said.isdecimal()):
        raise ValueError(f"{name} is a whole number, not {said!r}")
    return int(said)


def _straight(running: Servers, seed: int, rounds: int) -> None:
    tally, told = Tally(), 0.0
    with without_deadlocks(running) as engine:
        for first in range(0, rounds, RACES_OF_A_TOWN):
            played = min(rounds, first + RACES_OF_A_TOWN)
            play(engine, f"{seed}:{first}", played - first, tally)
            if monotonic() - told > _TELL_EVERY_SECONDS or played == rounds:
                told = monotonic()
                _say(f"seed {seed}: {played} of {rounds} races, {tally.steps} commands, each answer the model's")
    _say(f"no deadlock\n{tally.table()}")


def _over_http(running: Servers, seed: int, rounds: int) -> None:
    told = 0.0
    with tempfile.TemporaryDirectory() as directory, ring(running, Path(directory) / "api.log", seed) as two_doors:
        for number in range(rounds):
            ROUNDS[number % len(ROUNDS)](two_doors)
            if monotonic() - told > _TELL_EVERY_SECONDS or number + 1 == rounds:
                told = monotonic()
                _say(f"seed {seed}: {number + 1} of {rounds} rounds through two APIs and two pairs of workers")
        answers = ", ".join(f"{path} {code} {count}" for (path, code), count in sorted(two_doors.answers.items()))
    _say(f"no deadlock; answers: {answers}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
