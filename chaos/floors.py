"""The least that must have happened in a run: where nothing was struck and nobody traded, adding up proves nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

SHORTEST_MINUTES: Final = 1.0
"""A shorter run by chance has no floors, and says that it proves little."""
_FAULTS_A_MINUTE: Final = 2
_FAULTS_SHARE: Final = 0.3  # of those that are due: at points they wait for somebody to come by
_INJECTED_A_MINUTE: Final = 2
_PAYOUTS_A_MINUTE: Final = 4
# About a tenth of what twenty clients come to on a small machine that is busy with other things.
_COMMANDS_A_MINUTE: Final = {
    "create": 4.0, "fund": 4.0, "start": 4.0, "submit": 8.0, "approve": 7.0, "reverse": 1.0, "disputes": 0.5,
    "review": 0.3, "resolve": 0.3, "complete": 0.3, "reject": 0.3, "topups": 0.2, "cancel": 0.2, "refund": 0.15,
    "put_party": 0.15, "retry": 0.15, "advance": 0.15,
}  # fmt: skip


@dataclass(frozen=True)
class Floors:
    """Least numbers: ``faults`` of ours, those ``injected`` by the provider, commands that succeeded by their kind; and
    what must have been ``struck`` at least once.
    """

    faults: int = 0
    injected: int = 0
    payouts: int = 0
    commands: Mapping[str, int] = field(default_factory=dict)
    struck: frozenset[str] = frozenset()


NONE: Final = Floors()


def of_minutes(minutes: float, every: float, struck: frozenset[str]) -> Floors:
    """What a run of so many minutes comes to at the least, whatever the seconds between faults were set to."""
    if minutes < SHORTEST_MINUTES:
        return NONE
    due = minutes * 60 / every
    return Floors(
        faults=max(int(_FAULTS_A_MINUTE * minutes), int(due * _FAULTS_SHARE)),
        injected=int(_INJECTED_A_MINUTE * minutes),
        payouts=int(_PAYOUTS_A_MINUTE * minutes),
        commands={name: int(rate * minutes) for name, rate in _COMMANDS_A_MINUTE.items()},
        struck=struck,
    )


def below(
    floors: Floors, faults: int, injected: int, payouts: int, commands: Mapping[str, Counter[str]], struck: set[str]
) -> Iterator[str]:
    """Where a run stayed below its floors, in words."""
    numbers = [("faults struck", faults, floors.faults), ("faults of the provider", injected, floors.injected)]
    numbers.append(("payouts", payouts, floors.payouts))
    done = {name: commands.get(name, Counter())["ok"] for name in floors.commands}
    numbers += [(f"{name} that succeeded", done[name], least) for name, least in floors.commands.items()]
    yield from (f"too little happened: {what}: {found}, not {least}" for what, found, least in numbers if found < least)
    for one in sorted(floors.struck - struck):
        yield f"too little happened: {one} was never struck"
