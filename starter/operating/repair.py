"""The command `repair`: whatever workflows have to look after gets its workflow back, from the books alone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Engine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.standing import AT_ONCE, LostCharge, Standing, Stray
from ledger import oversight, reads, standing
from models import ids
from models.screening import ScreenParty
from settings import Settings
from starter.operating import groundwork
from starter.operating.groundwork import Ground
from starter.operating.lookup import sheet_text
from starter.operating.office import not_found, office
from starter.progress import Progress
from starter.reports.sheet import Column, Sheet
from starter.sender import Sender
from starter.servers import read_settings

T = TypeVar("T")

_TELL_EVERY: Final = 500
_COLUMNS: Final = (
    Column("what", "code"),
    Column("state", "code"),
    Column("workflow", "code", called="its workflow was"),
    Column("why"),
    Column("done"),
)
_STUCK: Final = (
    "Stuck: workers cannot go on with {count:,}. Deploy the version of the code that they began with, or have them "
    "start anew from the books: repair --restart-stuck."
)
_BEHIND: Final = "Still behind: {count:,}. Is a worker running, and can it reach PostgreSQL?"


@dataclass(frozen=True)
class Wanted:
    """What is repaired: of one ``tenant`` or of all; whether anything is done at all, every workflow is asked, those
    that are stuck start anew, and sellers are screened again.
    """

    tenant: str | None = None
    dry_run: bool = False
    thoroughly: bool = False
    restart_stuck: bool = False
    screen: bool = False


@dataclass(frozen=True)
class Repaired:
    """Something that nobody looked after. ``mended`` is False where a person has to see to it."""

    stray: Stray
    done: str
    mended: bool = True


@dataclass
class Found:
    """What a round has found so far."""

    repaired: list[Repaired] = field(default_factory=list)
    charges: list[LostCharge] = field(default_factory=list)
    ground: list[Ground] = field(default_factory=list)
    screened: int = 0
    remarks: list[str] = field(default_factory=list)


def repair(wanted: Wanted, home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any], bool]:
    """Start again what does not run, and tell what is late; answers what was done, for people and for scripts, and
    whether nothing is left that a person has to see to.

    Doing it twice starts nothing twice. Raises ``EndedError`` (not_found, outcome_unknown), ``StackError``.
    """
    with office(home, quiet=quiet) as desk:
        if wanted.tenant is not None and oversight.one(desk.engine, "tenant", wanted.tenant) is None:
            raise not_found("tenant", wanted.tenant, "tenant list")
        config, engine, progress = read_settings(), desk.engine, desk.progress
        round_ = desk.see_to(lambda client, sender: _Round(client, sender, engine, progress, wanted).go(config))
    found = round_.found
    whole = all(one.mended for one in found.repaired)
    return _told(round_, wanted), _document(round_, wanted), whole


class _Round:
    """One walk over all that needs a workflow, the oldest first."""

    def __init__(self, client: Client, sender: Sender, engine: Engine, progress: Progress, wanted: Wanted) -> None:
        self._client = client
        self._sender = sender
        self._engine = engine
        self._progress = progress
        self._wanted = wanted
        self._standing = Standing(client, engine, thoroughly=wanted.thoroughly, patiently=self._looking)
        self._closely = Standing(client, engine, thoroughly=True, patiently=self._looking)
        self.found = Found()

    @property
    def looked_at(self) -> int:
        """How many escrows that are not over were looked at."""
        return self._standing.looked_at

    async def go(self, config: Settings) -> "_Round":
        """Look at everything, and see to what is wanted."""
        await self._looking("look at the namespace", lambda: groundwork.check_namespace(self._client))
        await self._lay_ground(config)
        self._progress.doing("Looking for escrows that no workflow looks after.")
        await self._see_to_escrows()
        self._progress.doing("Looking for charges that no workflow asks about.")
        await self._see_to_charges()
        if self._wanted.screen:
            await self._screen()
        return self

    async def _lay_ground(self, config: Settings) -> None:
        found = self.found
        found.ground = await self._looking(
            "look for what lasts", lambda: groundwork.missing_ground(self._client, config)
        )
        if not self._wanted.dry_run:
            await self._looking("start what lasts", lambda: groundwork.lay(self._client, config, found.ground))
        found.remarks += await self._looking(
            "look for workers", lambda: groundwork.remarks(self._client, self._engine, config)
        )

    async def _see_to_escrows(self) -> None:
        told, batch = 0, []
        async for stray in self._standing.strays(self._wanted.tenant):
            batch.append(stray)
            if len(batch) == AT_ONCE:
                await self._mend_all(batch)
                batch = []
            if self.looked_at - told >= _TELL_EVERY:
                told = self.looked_at
                self._progress.doing(f"{told:,} looked at, {len(self.found.repaired):,} not looked after.")
        await self._mend_all(batch)

    async def _mend_all(self, strays: list[Stray]) -> None:
        self.found.repaired += await asyncio.gather(*(self._mend(one) for one in strays))

    async def _mend(self, stray: Stray) -> Repaired:
        if stray.cause == "stuck" and not self._wanted.restart_stuck:
            return Repaired(stray, "left as it is", mended=False)
        if self._wanted.dry_run:
            return Repaired(stray, "would be told" if stray.cause == "behind" else "would be started")
        if stray.cause == "behind" and await self._told_to_look(stray):
            still = await self._closely.look(stray.escrow)
            return Repaired(stray, "told, and still behind" if still else "told, and caught up", mended=still is None)
        if stray.cause == "stuck":
            now = await self._standing.look(stray.escrow)  # the walk may have seen it long ago: what runs is left alone
            if now is None:
                return Repaired(stray, "goes on by itself meanwhile")
            if now.cause != "stuck":
                return await self._mend(now)
        escrow = await asyncio.to_thread(reads.escrow, self._engine, stray.escrow)
        if escrow is None or escrow.finished:
            return Repaired(stray, "came to its end meanwhile")
        await self._sender.revive(escrow, anew=stray.cause == "stuck")
        return Repaired(stray, "started again")

    async def _told_to_look(self, stray: Stray) -> bool:
        """Have its workflow read the books; False if there is none any more."""
        handle = self._client.get_workflow_handle(ids.escrow_workflow(stray.escrow))
        try:
            await self._sender.patiently(f"tell {stray.escrow}", lambda: handle.signal("look_again"))
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def _see_to_charges(self) -> None:
        async for lost in self._standing.lost_charges(self._wanted.tenant):
            if not self._wanted.dry_run:
                await self._sender.revive_charge(lost.order)
            self.found.charges.append(lost)

    async def _screen(self) -> None:
        """Screen those who may be paid: of a screening that was under way nothing is in the books."""
        sellers = await asyncio.to_thread(standing.sellers, self._engine, self._wanted.tenant)
        self._progress.doing(f"Screening {len(sellers):,} sellers.")
        for start in range(0, len(sellers), AT_ONCE):
            if not self._wanted.dry_run:
                some = (ScreenParty(tenant=tenant, party=party) for tenant, party in sellers[start : start + AT_ONCE])
                await asyncio.gather(*(self._sender.screen_again(one) for one in some))
        self.found.screened = len(sellers)

    async def _looking(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        return await self._sender.patiently(what, attempt, sends=False)


def _document(round_: _Round, wanted: Wanted) -> dict[str, Any]:
    found = round_.found
    started = "would be started" if wanted.dry_run else "started again"
    return {
        "looked_at": round_.looked_at,
        "dry_run": wanted.dry_run,
        "data": [_row(one) | ({"mended": False} if wanted.dry_run else {}) for one in found.repaired],
        "charges": [
            {"charge": one.order.id, "tenant": one.order.tenant, "workflow": one.workflow, "done": started}
            for one in found.charges
        ],
        "ground": [{"kind": one.kind, "name": one.name, "done": started} for one in found.ground],
        "screened": found.screened,
        "remarks": found.remarks,
    }


def _row(one: Repaired) -> dict[str, Any]:
    stray = one.stray
    return {
        "escrow": stray.escrow,
        "tenant": stray.tenant,
        "state": stray.state,
        "cause": stray.cause,
        "workflow": stray.workflow,
        "since": stray.since.isoformat(),
        "why": stray.why,
        "done": one.done,
        "mended": one.mended,
    }


def _told(round_: _Round, wanted: Wanted) -> str:
    found, started = round_.found, "would be started" if wanted.dry_run else "started again"
    rows = [{"what": one.name, "state": "", "workflow": "missing", "why": "", "done": started} for one in found.ground]
    rows += [
        _row(one) | {"what": one.stray.escrow, "why": "" if one.stray.cause == "not_running" else one.stray.why}
        for one in found.repaired
    ]
    rows += [
        {"what": one.order.id, "state": "pending", "workflow": one.workflow, "why": "", "done": started}
        for one in found.charges
    ]
    remarks = _remarks(round_, wanted)
    if not rows:
        return "\n".join(remarks)
    return sheet_text(Sheet("Repair", _COLUMNS, rows, "", remarks=tuple(remarks)))


def _remarks(round_: _Round, wanted: Wanted) -> list[str]:
    found = round_.found
    looked = f"Escrows that are not over: {round_.looked_at:,}."
    count = len(found.repaired)
    said = [f"{looked} {f'Not looked after: {count:,}.' if count else 'Each has a workflow that looks after it.'}"]
    stuck = sum(not one.mended and one.stray.cause == "stuck" for one in found.repaired)
    behind = sum(not one.mended and one.stray.cause == "behind" for one in found.repaired)
    if stuck:
        said.append(_STUCK.format(count=stuck))
    if behind:
        said.append(_BEHIND.format(count=behind))
    if wanted.screen:
        said.append(f"Sellers {'to be screened' if wanted.dry_run else 'being screened'}: {found.screened:,}.")
    return [*said, *found.remarks]
