"""The command `repair`: every escrow that is not over gets its workflow back, from the books alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from ledger import oversight, reads
from models import ids
from starter.operating.lookup import sheet_text
from starter.operating.office import not_found, office
from starter.progress import Progress
from starter.reports.sheet import Column, Sheet
from starter.sender import Sender

_AT_ONCE: Final = 20
_TELL_EVERY: Final = 500
_MISSING: Final = "missing"
_COLUMNS: Final = (
    Column("escrow", "code"),
    Column("state", "code"),
    Column("workflow", "code", called="its workflow was"),
    Column("done", "code"),
)


@dataclass(frozen=True)
class Repaired:
    """An escrow that nobody looked after. ``workflow`` is how its workflow was found: missing, terminated, …"""

    escrow: str
    tenant: str
    state: str
    workflow: str
    done: str


def repair(tenant: str | None, home: Path | None, *, dry_run: bool, quiet: bool) -> tuple[str, dict[str, Any]]:
    """Start again what does not run; answers what was done, for people and for scripts.

    Doing it twice starts nothing twice. Raises ``EndedError`` (not_found, outcome_unknown), ``StackError``.
    """
    with office(home, quiet=quiet) as desk:
        if tenant is not None and oversight.one(desk.engine, "tenant", tenant) is None:
            raise not_found("tenant", tenant, "tenant list")
        round_ = _Round(desk.engine, desk.progress, dry_run)
        desk.see_to(lambda client, sender: round_.go(client, sender, tenant))
    document = {
        "looked_at": round_.looked_at,
        "dry_run": dry_run,
        "data": [vars(one) for one in round_.repaired],
    }
    return _told(round_, dry_run), document


class _Round:
    """One walk over all escrows that are not over, the oldest first."""

    def __init__(self, engine: Engine, progress: Progress, dry_run: bool) -> None:
        self._engine = engine
        self._progress = progress
        self._dry_run = dry_run
        self.looked_at = 0
        self.repaired: list[Repaired] = []

    async def go(self, client: Client, sender: Sender, tenant: str | None) -> None:
        self._progress.doing("Looking for escrows that no workflow looks after.")
        async for page in self._pages(tenant):
            for some in _in_parts(page):
                found = await asyncio.gather(*(self._see_to(client, sender, one) for one in some))
                self.repaired += [one for one in found if one]
                self._tell(len(some))

    async def _pages(self, tenant: str | None) -> AsyncIterator[list[str]]:
        after = ""
        while page := await asyncio.to_thread(oversight.unfinished, self._engine, tenant, after):
            yield page
            after = page[-1]

    async def _see_to(self, client: Client, sender: Sender, identifier: str) -> Repaired | None:
        workflow = await sender.patiently(f"look at {identifier}", lambda: _status(client, identifier))
        if workflow is None:
            return None
        escrow = await asyncio.to_thread(reads.escrow, self._engine, identifier)
        if escrow is None or escrow.finished:  # it came to its end while we looked
            return None
        if not self._dry_run:
            await sender.revive(escrow)
        done = "would be started" if self._dry_run else "started again"
        return Repaired(escrow.id, escrow.tenant, escrow.state, workflow, done)

    def _tell(self, more: int) -> None:
        before, self.looked_at = self.looked_at, self.looked_at + more
        if before // _TELL_EVERY != self.looked_at // _TELL_EVERY:
            self._progress.doing(f"{self.looked_at:,} looked at, {len(self.repaired):,} without a workflow.")


async def _status(client: Client, escrow: str) -> str | None:
    """How the escrow's workflow ended, or that there is none; None for one that runs."""
    try:
        found = await client.get_workflow_handle(ids.escrow_workflow(escrow)).describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return _MISSING
    status = found.status
    running = status in {None, WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW}
    return None if running or status is None else status.name.lower()


def _in_parts(page: list[str]) -> Iterator[list[str]]:
    return (page[start : start + _AT_ONCE] for start in range(0, len(page), _AT_ONCE))


def _told(round_: _Round, dry_run: bool) -> str:
    looked = f"Escrows that are not over: {round_.looked_at:,}."
    if not round_.repaired:
        return f"{looked} Each has a workflow that looks after it."
    verb = "Would be started again" if dry_run else "Started again from the books"
    remark = f"{looked} {verb}: {len(round_.repaired):,}."
    return sheet_text(Sheet("Repair", _COLUMNS, [vars(one) for one in round_.repaired], "", remarks=(remark,)))
