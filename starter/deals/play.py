"""Playing a deal: every action is sent to the real workflows, in order, and what follows from it is waited for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import Engine
from temporalio.client import Client

from ledger import reads
from ledger.keyring import Keyring
from ledger.seals import Seals
from models import ids
from models.charges import ChargeOrder
from models.commands import Command, Create
from models.errors import ErrorCode, Refusal, RefusedError
from models.escrow import Escrow, Payout
from models.states import PayoutStatus
from starter.deals import tenancy
from starter.deals.deal import Action, Deal
from starter.deals.runs import Changes, Run
from starter.deals.telling import told
from starter.deals.written import Change, References, meant, names_payout
from starter.progress import Progress
from starter.sender import Sender

T = TypeVar("T")

# Longer than it takes Temporal to notice that a worker died with a gateway call in its hands (workflows.timeouts).
_PATIENCE: Final = timedelta(minutes=3)
_LOOK_AGAIN_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Step:
    """One action and what became of it. ``id`` is that of the command or charge, by which the books know it."""

    number: int
    action: Action
    id: str | None = None
    escrow: Escrow | None = None
    refusal: Refusal | None = None

    def surprise(self, deal: Deal) -> str | None:
        """How it went against the story, if it did, and where the file says otherwise."""
        meant_to_be, refusal = self.action.refusal, self.refusal
        if meant_to_be == (refusal and refusal.code):
            return None
        happened = f"refused with {refusal.code}: {refusal.message}" if refusal else "accepted"
        wanted = f", and was meant to be refused with {meant_to_be}" if meant_to_be else ""
        place = f"{deal.file}:{self.action.line}: " if self.action.line else ""
        return f"{place}step {self.number} ({told(self.action, deal.currency)}) was {happened}{wanted}"


@dataclass
class Played:
    """A deal as far as it was played. ``problems`` say what did not come out as it should."""

    deal: Deal
    run: Run
    steps: list[Step] = field(default_factory=list)
    escrow: Escrow | None = None
    problems: list[str] = field(default_factory=list)


class Player:
    """Plays one run of a deal. Playing it again with the same run moves nothing a second time."""

    def __init__(
        self, deal: Deal, run: Run, changes: Changes, client: Client, engine: Engine, keys: Keyring, progress: Progress
    ) -> None:
        self._changes = changes
        self._client = client
        self._engine = engine
        self._keys = keys
        self._sender = Sender(client, engine, seals=Seals(keys))
        self._progress = progress
        self._played = Played(deal, run)
        self._clock = timedelta(0)
        self._disputes = 0
        self._changed = 0

    async def play(self) -> Played:
        """Play every action, up to the first that goes against the story, and wait for what follows.

        Raises ``OutcomeUnknownError`` when servers stay away for too long: the same run again goes on from there.
        """
        deal, played = self._played.deal, self._played
        if not self._changes.begun:
            try:
                await self.books(tenancy.prepare, self._keys, deal, played.run)
            except RefusedError as error:
                played.problems.append(f"{deal.file}: {error.refusal.code}: {error.refusal.message}")
                return played
        for number, action in enumerate(deal.actions, start=1):
            self._progress.doing(f"{number}/{len(deal.actions)}  {told(action, deal.currency)}")
            step = await self._take(number, action)
            played.steps.append(step)
            if surprise := step.surprise(deal):
                played.problems.append(surprise)
                break
            if step.escrow and any(_leaves(payout) for payout in step.escrow.payouts):
                # Whoever tells a story means that the money has arrived: what is then taken back is not in our hands.
                await self._until(lambda one: not any(_leaves(payout) for payout in one.payouts))
        await self._settle()
        return played

    async def _take(self, number: int, action: Action) -> Step:
        if action.do == "advance_clock":
            # How far in all: a run that is played again moves the clock to where it is already.
            self._clock += action.moves_clock_by
            await self._sender.advance_clock(self._played.run.tenant, self._clock)
            return Step(number, action, escrow=await self._escrow())
        if action.do == "top_up":
            return await self._top_up(number, action)
        if isinstance(action.said, Change):
            return await self._change(number, action)
        return await self._send(number, action)

    async def _top_up(self, number: int, action: Action) -> Step:
        order = ChargeOrder(
            id=self._played.run.charge(number),
            tenant=self._played.run.tenant,
            party=action.actor.party if action.actor and action.actor.party else "",
            amount=getattr(action.said, "amount"),  # noqa: B009 - every kind of action has fields of its own
            currency=self._played.deal.currency,
            payment_method=getattr(action.said, "payment_method"),  # noqa: B009
        )
        charge = await self._sender.top_up(order)
        if charge.status == "succeeded":
            return Step(number, action, charge.id)
        refusal = Refusal(code=ErrorCode.PAYMENT_DECLINED.code, message=charge.reason or "the charge was declined")
        return Step(number, action, charge.id, refusal=refusal)

    async def _change(self, number: int, action: Action) -> Step:
        self._changed += 1
        try:
            if self._changes.begin(self._changed):
                await self.books(tenancy.change, self._keys, self._played.deal, self._played.run, action)
        except RefusedError as error:
            return Step(number, action, refusal=error.refusal)
        return Step(number, action)

    async def _send(self, number: int, action: Action) -> Step:
        identifier = self._played.run.command(number, action.do)
        try:
            escrow = await self._sender.send(await self._command(identifier, action))
        except RefusedError as error:
            return Step(number, action, identifier, refusal=error.refusal)
        if action.do == "dispute":
            self._disputes += 1
        return Step(number, action, identifier, escrow)

    async def _command(self, identifier: str, action: Action) -> Command:
        run, deal = self._played.run, self._played.deal
        fields: dict[str, Any] = {"id": identifier, "escrow": run.escrow, "actor": action.actor}
        if action.command is None or action.command is Create:
            return deal.create(run.tenant, **fields)
        return meant(action.command, action.said, await self._references(action), **fields)

    async def _references(self, action: Action) -> References:
        """The ids behind a file's numbers: counted, not looked for by status, so that playing again finds the same.

        Raises ``RefusedError`` for the number of a payout that there is not.
        """
        escrow = await self._escrow()
        wanted = names_payout(action.said)
        if escrow and wanted:
            escrow = await self._until(lambda one: not any(payout.going for payout in _asked_for(one, wanted)))
        if escrow and wanted and len(escrow.payouts) < wanted:
            raise RefusedError(ErrorCode.NOT_FOUND, _how_many(len(escrow.payouts)), payouts=len(escrow.payouts))
        if escrow is None:
            return References(self._played.run.tenant)
        return References(
            self._played.run.tenant,
            tuple(one.id for one in escrow.milestones),
            tuple(one.id for one in escrow.payouts),
            escrow.disputes[self._disputes - 1].id if self._disputes else None,
        )

    async def _settle(self) -> None:
        """Wait until the gateway has answered for every payout, and the workflow has ended if the deal has."""
        self._progress.doing("Waiting for the payouts to be confirmed.")
        escrow = await self._until(lambda one: not any(payout.going for payout in one.payouts))
        self._played.escrow = escrow
        if escrow is None:
            return
        self._played.problems += [_unpaid(escrow, payout) for payout in escrow.payouts if _is_a_problem(payout)]
        if escrow.finished:
            await self._workflow_ended(escrow)

    async def _workflow_ended(self, escrow: Escrow) -> None:
        handle = self._client.get_workflow_handle(ids.escrow_workflow(escrow.id))
        try:
            await asyncio.wait_for(self._sender.patiently("the end of the workflow", handle.result), _PATIENCE.seconds)
        except TimeoutError:
            self._played.problems.append(f"the workflow of {escrow.id} has not ended, though the escrow has")

    async def _until(self, condition: Callable[[Escrow], bool]) -> Escrow | None:
        """The escrow once the condition holds, or as it stands when patience is over."""
        give_up = asyncio.get_running_loop().time() + _PATIENCE.total_seconds()
        while True:
            escrow = await self._escrow()
            if escrow is None or condition(escrow) or asyncio.get_running_loop().time() > give_up:
                return escrow
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _escrow(self) -> Escrow | None:
        return await self.books(reads.escrow, self._played.run.escrow)

    async def books(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do something with the books, also when PostgreSQL is away for a while."""
        return await self._sender.patiently(work.__name__, lambda: asyncio.to_thread(work, self._engine, *arguments))


def _asked_for(escrow: Escrow, number: int) -> tuple[Payout, ...]:
    """The payout of that number; where there is none yet, all of those after which it might come."""
    return escrow.payouts[number - 1 : number] or escrow.payouts


def _how_many(payouts: int) -> str:
    return "there is 1 payout" if payouts == 1 else f"there are {payouts or 'no'} payouts"


def _leaves(payout: Payout) -> bool:
    """Whether it is about to arrive. With a gateway that does not answer the story goes on; its end waits for it."""
    return payout.going and payout.status != PayoutStatus.UNKNOWN


def _is_a_problem(payout: Payout) -> bool:
    """What is held waits for its time, or for somebody, as the deal wants it."""
    return payout.unsettled and payout.hold is None


def _unpaid(escrow: Escrow, payout: Payout) -> str:
    amount = f"the payout of {escrow.money(payout.amount)} to {payout.party}"
    if payout.status == PayoutStatus.FAILED:
        return f"{amount} failed: {payout.reason}"
    why = f" ({payout.reason})" if payout.reason else ""
    return f"{amount} is still {payout.status} after {_PATIENCE.seconds} seconds{why}: nothing is lost, it goes on"
