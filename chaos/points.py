"""The named moments at which a process may be struck, and the orders to do so.

An order is a file; whichever process passes the point first takes it by renaming it, which only one can, and kills or
stops itself there and then. So chance decides when, a seed decides what, and each strike is on record before it falls.
The product knows nothing of this: ``chaos.doomed_worker`` and ``chaos.doomed_api`` wrap its parts from outside.
"""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Action = Literal["kill", "pause"]

POINTS: Final = {
    "api-claimed": "the Idempotency-Key is claimed, nothing is sent",
    "api-decided": "the outcome is known, its answer is not kept yet",
    "api-kept": "the answer is kept, nobody has read it",
    "api-told": "the provider's webhook is stored, the provider does not know",
    "worker-before-commit": "a command is decided and written, not committed",
    "worker-after-commit": "a command is committed, Temporal does not know",
    "worker-ledger-first": "the ledger has booked it, the provider is not asked yet",
    "worker-provider-done": "the provider has moved the money, its answer is lost with us",
    "worker-answer-known": "Temporal has the provider's answer, the ledger does not",
    "worker-event-judged": "what a webhook means is known to Temporal, and not written down",
    "worker-reconciling": "a round has written down what differs, Temporal does not know",
    "worker-healing": "a round has asked for what the provider knows better, Temporal does not know",
}
"""Name → what has happened and what has not. The part before the first dash says which process passes there."""

ORDERS: Final = "CHAOS_ORDERS"
NAME: Final = "CHAOS_NAME"


@dataclass(frozen=True)
class Strike:
    """An order that was carried out: by which process, and when (seconds of the epoch)."""

    point: str
    name: str
    pid: int
    at: float
    action: Action
    seconds: float


def pass_by(point: str) -> None:
    """Called by a process at a point: dies or stops here if that was ordered."""
    order = Path(os.environ[ORDERS]) / point
    try:
        action = json.loads(order.read_text())["action"]
        order.rename(order.parent / "taken" / f"{point}@{os.environ[NAME]}@{os.getpid()}")
    except FileNotFoundError:
        return  # none was given, or another process was faster
    os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)


class Orders:
    """The orders of one run, in a directory. Used by one thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "taken").mkdir(parents=True)

    def give(self, point: str, action: Action, seconds: float) -> None:
        """Have the next process that passes the point killed, or stopped for so many seconds. One order per point."""
        if point not in POINTS:
            raise ValueError(f"there is no point {point}: there are {', '.join(POINTS)}")
        draft = self.directory / f"{point}.draft"
        draft.write_text(json.dumps({"action": action, "seconds": seconds}))
        draft.rename(self.directory / point)

    def given(self, point: str) -> bool:
        """Whether an order still waits at a point."""
        return (self.directory / point).exists()

    def withdraw(self) -> list[str]:
        """Take back what nobody has taken; answers the points."""
        left = [point for point in POINTS if self.given(point)]
        for point in left:
            (self.directory / point).unlink(missing_ok=True)
        return left

    def collect(self) -> list[Strike]:
        """The strikes since the last time."""
        found = []
        for taken in sorted((self.directory / "taken").iterdir()):
            point, name, pid = taken.name.split("@")
            order = json.loads(taken.read_text())
            found.append(Strike(point, name, int(pid), taken.stat().st_ctime, order["action"], order["seconds"]))
            taken.unlink()
        return found
