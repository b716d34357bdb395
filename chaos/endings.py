"""Whether our processes ended only as was ordered, and what their logs say that no log may say."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from chaos.stage import Ended
from chaos.weather import Fault

# A worker wants Temporal as it starts, an API PostgreSQL: without it they say so, end and are started again. One that
# has come up waits for servers instead.
_IN_VAIN: Final = {"worker": "exit code 1", "api": "exit code 3"}
_SERVERS: Final = frozenset({"postgres", "temporal", "temporal-data", "backend"})
_BACK_WITHIN_SECONDS: Final = 40.0
_NEVER: Final = (
    "panicked at", "Fatal Python error", "Task was destroyed", "was never awaited", "never retrieved", "Nondeterminism",
    "Segmentation fault", "MemoryError",
)  # fmt: skip
_LONGEST: Final = 300


def sort_out(ended: Iterable[Ended], faults: Sequence[Fault]) -> tuple[list[str], list[str]]:
    """Those that could not start as a server was away, and those that ended for no reason of ours. In words."""
    in_vain, unordered = [], []
    for one in ended:
        if any(fault.action == "kill" and one.pid in fault.pids for fault in faults):
            continue
        if not one.came_up and one.ending == _IN_VAIN[one.name.rstrip("12")] and _without_server(one, faults):
            in_vain.append(f"{one.name}: {one.ending}")
        else:
            last = one.output.strip()[-_LONGEST:]
            unordered.append(f"{one.name} ended by itself after {one.ended - one.began:.1f} s, {one.ending}: {last}")
    return in_vain, unordered


def _without_server(one: Ended, faults: Sequence[Fault]) -> bool:
    away = (fault for fault in faults if fault.victim in _SERVERS and fault.began is not None)
    return any(
        (fault.began or 0) <= one.ended and one.began <= (fault.ended or one.ended) + _BACK_WITHIN_SECONDS
        for fault in away
    )


def unheard_of(logs: Iterable[Path]) -> Iterator[str]:
    """Lines of our logs that tell of a mistake in the program itself."""
    for log in logs:
        with log.open(errors="replace") as lines:
            yield from (
                f"{log.name}: {line.strip()[:_LONGEST]}" for line in lines if any(one in line for one in _NEVER)
            )
