"""What outsiders and operators do in the middle of everything: workflows are terminated, rounds and repairs are
started, and once all of Temporal's data is lost.

Each is tried until it has happened, as servers may be away; what must not come of it is kept in ``wrong``.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal

from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError

from chaos import histories, rounds
from chaos.stage import ROOT, Stage

Meddling = Literal["terminate", "start", "run", "lose"]

MEDDLED: Final[dict[str, Meddling]] = {
    "workflow": "terminate",
    "reconciliation": "start",
    "repair": "run",
    "temporal-data": "lose",
}
"""What is meddled with → how."""
WORDS: Final = {
    "workflow": "an escrow's, a payout's, a charge's or the webhooks'; then holdfast repair",
    "reconciliation": "a round at any moment",
    "repair": "holdfast repair at any moment",
    "temporal-data": "all of it, then holdfast repair",
}
_TERMINATED: Final = ("EscrowWorkflow", "PayoutWorkflow", "ChargeWorkflow", "GatewayEventsWorkflow")
_AGAIN_SECONDS: Final = 0.5
_ANSWERS_WITHIN: Final = timedelta(seconds=5)
_REPAIRED_WITHIN_SECONDS: Final = 120.0
# Done; and a server failed, or a person has to see to something; and no answer for too long.
_ENDS: Final = frozenset({0, 1, 5})


@dataclass
class Meddler:
    """Meddles in threads of its own, until ``enough``. ``terminated`` are the runs that were ordered to end."""

    stage: Stage
    chance: random.Random
    enough: threading.Event
    terminated: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    _hands: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(3, thread_name_prefix="meddler"))

    def meddle(self, victim: str, seconds: float) -> "Future[str | None]":
        """Set it going; the future is what was hit, or None where enough came first. What it breaks is repaired after
        so many ``seconds``.
        """
        how = {"reconciliation": self._reconcile, "repair": self._repair}
        if victim in how:
            return self._hands.submit(self._until_done, how[victim])
        breaks = self._lose if victim == "temporal-data" else self._terminate
        return self._hands.submit(self._broken, breaks, seconds)

    def rest(self) -> None:
        """Let nothing more begin, and wait for what has begun."""
        self._hands.shutdown(cancel_futures=True)

    def _until_done(self, attempt: Callable[[], str | None]) -> str | None:
        while not self.enough.is_set():
            try:
                if hit := attempt():
                    return hit
            except (RPCError, RuntimeError):
                pass  # Temporal is away
            self.enough.wait(_AGAIN_SECONDS)
        return None

    def _broken(self, attempt: Callable[[], str | None], seconds: float) -> str | None:
        hit = self._until_done(attempt)
        if hit:
            self.enough.wait(seconds)
            # From here on nobody waits for enough: without a repair some of what clients wait for never comes.
            give_up = time.monotonic() + _REPAIRED_WITHIN_SECONDS
            while not self.repaired():
                if time.monotonic() > give_up:
                    self.wrong.append(
                        f"{hit}: after {_REPAIRED_WITHIN_SECONDS:g} s holdfast repair still leaves something"
                    )
                    break
                time.sleep(_AGAIN_SECONDS)
        return hit

    def _terminate(self) -> str | None:
        return asyncio.run(self._terminated())

    async def _terminated(self) -> str | None:
        client = await histories.client_of(self.stage.endpoints)
        for kind in self.chance.sample(_TERMINATED, len(_TERMINATED)):
            running = await _running(client, kind)
            if running:
                one = self.chance.choice(running)
                self.terminated.add(one.run_id)  # before: the answer may be lost on the way
                handle = client.get_workflow_handle(one.id, run_id=one.run_id)
                await handle.terminate("chaos", rpc_timeout=_ANSWERS_WITHIN)
                return f"{kind} {one.id}"
        return None

    def _reconcile(self) -> str | None:
        asyncio.run(rounds.begin(self.stage.endpoints))
        return "reconciliation"

    def _repair(self) -> str | None:
        return "repair" if self.repaired() else None

    def _lose(self) -> str | None:
        """Stopped before its files go and killed after: whoever starts it again finds none."""
        pids = self.stage.pids("temporal")
        if not pids:
            return None
        with suppress(ProcessLookupError):
            os.kill(pids[0], signal.SIGSTOP)
            for part in self.stage.home.glob("temporal.db*"):
                part.unlink()
            os.kill(pids[0], signal.SIGKILL)
        return "temporal-data"

    def repaired(self) -> bool:
        """Run ``holdfast repair`` as an operator does; answers whether nothing was left."""
        argv = [sys.executable, "-P", "-m", "starter.cli", "repair", "--home", str(self.stage.home), "--json"]
        env = {name: one for name, one in os.environ.items() if not name.startswith(("TEMPORAL_", "HOLDFAST_"))}
        env |= {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(argv, env=env, cwd=self.stage.place, capture_output=True, text=True, check=False)
        if done.returncode not in _ENDS or "Traceback" in done.stderr:
            self.wrong.append(f"holdfast repair ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
        return done.returncode == 0


async def _running(client: Client, kind: str) -> list[WorkflowExecution]:
    query = f"ExecutionStatus='Running' AND WorkflowType='{kind}'"
    return [one async for one in client.list_workflows(query, limit=50, rpc_timeout=_ANSWERS_WITHIN)]
