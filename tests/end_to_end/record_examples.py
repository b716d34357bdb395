"""What the examples print, without what differs from run to run; and how it is recorded.

After a change that is meant to change what they print, record them again and read the difference:

    .venv/bin/python -m tests.end_to_end.record_examples
    git diff examples/expected
"""

import re
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from tests.end_to_end.command_line import EXAMPLES, CommandLine, Ended

NAMES: Final = tuple(sorted(file.stem for file in EXAMPLES.glob("*.yaml")))
EXPECTED: Final = EXAMPLES / "expected"
_COLUMNS: Final = "120"

_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d)( {2,})?")
_RATE_OF: Final = re.compile(r"(?<= of )\d{4}-\d\d-\d\d$", re.MULTILINE)
_ID: Final = re.compile(r"(?:\b|(?<=%3A))([a-z]{2,3})_(?:[0-9a-z]{26}|[0-9A-Za-z]{24})\b")
_ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:\d+")


def play(holdfast: CommandLine, file: Path) -> Ended:
    """Run a deal file as its reader would, in a terminal of a known width."""
    return holdfast("run", file, COLUMNS=_COLUMNS)


def recorded(name: str) -> Path:
    """Where what an example prints is kept."""
    return EXPECTED / f"{name}.txt"


def lasting(printed: str) -> str:
    """What stays the same from run to run: all of it but ids, references, addresses, and the day on which it began.

    Times become what has passed since the first of them, ``day 14``, so that time is compared as well. A rate of the
    day of the run is of ``today``.
    """
    times = [_read(found) for found, _ in _TIME.findall(printed)]
    if times:
        first = min(times)
        printed = _TIME.sub(lambda found: _since(first, found), printed)
        # A run that begins before midnight has rates of the day before.
        days = {(first - timedelta(days=before)).date().isoformat() for before in (0, 1)}
        printed = _RATE_OF.sub(lambda found: "today" if found[0] in days else found[0], printed)
    return _ADDRESS.sub("http://temporal", _ID.sub(r"\1_*", printed))


def _since(first: datetime, found: re.Match[str]) -> str:
    passed = _read(found[1]) - first
    hours = passed.seconds // 3600
    said = f"day {passed.days}{f' +{hours}h' if hours else ''}"
    return f"{said:<{len(found[1])}}{found[2]}" if found[2] else said


def _read(time: str) -> datetime:
    return datetime.fromisoformat(f"{time}+00:00")


def main() -> int:
    """Record every example on a stack of its own."""
    EXPECTED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        holdfast = CommandLine(Path(directory))
        with holdfast.up():
            for name in NAMES:
                ended = play(holdfast, EXAMPLES / f"{name}.yaml")
                if ended.code:
                    sys.stderr.write(f"{name} does not end well, nothing is recorded of it:\n{ended.out}{ended.err}")
                    return 1
                recorded(name).write_text(lasting(ended.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
