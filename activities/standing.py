"""The books against the workflows: which escrow that is not over has nobody to look after it, or somebody who is late.

For ``activities.reconciliation``, which tells, and ``starter.operating.repair``, which mends::

    standing = Standing(client, engine)
    async for stray in standing.strays(): ...
    standing.looked_at  # so many escrows were compared
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeVar

from sqlalchemy import Engine
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from ledger import reads, standing
from ledger.standing import Open
from models import ids
from models.charges import ChargeOrder
from models.escrow import Escrow

T = TypeVar("T")
Cause = Literal["not_running", "behind", "stuck"]

AT_ONCE: Final = 20
_MISSING: Final = "missing"
_RUNNING: Final = frozenset({WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW})
# A workflow task that fails is tried again for ever. Two failures may be a worker's death.
_TOO_MANY_ATTEMPTS: Final = 3
# A command is in the books a moment before its workflow hears of it, and timers may fire a little late.
_GRACE: Final = timedelta(seconds=2)
_LATE: Final = timedelta(minutes=1)
_ANSWERS_WITHIN: Final = timedelta(seconds=15)
_LAST_EVENTS: Final = 10
# As ``workflows.visibility`` keeps them; a test holds the names together.
STATE: Final = SearchAttributeKey.for_keyword("HoldfastState")
NEXT_DEADLINE: Final = SearchAttributeKey.for_datetime("HoldfastNextDeadline")


@dataclass(frozen=True)
class Stray:
    """An escrow that is not over and whose workflow does not look after it as the books stand.

    ``not_running``: there is no workflow. ``behind``: it does not know what the books have, or did not act on it.
    ``stuck``: workers fail to go on with it, or it waits for something that cannot come; only starting it anew from the
    books helps. ``workflow`` is how it was found: missing, completed, failed, canceled, terminated, timed_out, or
    running. ``since`` is when that began, on the real clock; of one that is missing, when the books last changed.
    ``why`` is for people, and without personal data.
    """

    escrow: str
    tenant: str
    state: str
    version: int
    cause: Cause
    workflow: str
    since: datetime
    why: str


@dataclass(frozen=True)
class LostCharge:
    """A charge that is pending in the books and that no workflow asks the gateway about. ``order`` has no seal."""

    order: ChargeOrder
    workflow: str
    since: datetime


class Patiently(Protocol):
    """Attempts something, whose name is for people, until there is an answer; what it raises is definite."""

    async def __call__(self, what: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Answer what the attempt that came through answered."""
        ...


class Standing:
    """Walks over what needs a workflow, the oldest first, and looks each up at Temporal itself: never in its lists,
    which are late.

    Most escrows cost one look: the state, the next deadline and the payouts under way that Temporal knows of its
    workflow are those of the books. ``thoroughly`` asks every workflow for all that it knows, which costs a worker the
    replay of its history.
    """

    def __init__(
        self, client: Client, engine: Engine, *, thoroughly: bool = False, patiently: Patiently | None = None
    ) -> None:
        self._client = client
        self._engine = engine
        self._thoroughly = thoroughly
        self._patiently: Patiently = patiently or _once
        self.looked_at = 0

    async def strays(self, tenant: str | None = None) -> AsyncIterator[Stray]:
        """Escrows that are not looked after. Raises ``RPCError``, ``sqlalchemy.exc.OperationalError``."""
        after = ""
        while page := await self._read(standing.open_escrows, tenant, after):
            for some in (page[start : start + AT_ONCE] for start in range(0, len(page), AT_ONCE)):
                found = await asyncio.gather(*(self._look(one) for one in some))
                self.looked_at += len(some)
                for stray in found:
                    if stray:
                        yield stray
            after = page[-1].escrow

    async def look(self, escrow: str) -> Stray | None:
        """One escrow, as ``strays`` sees it; None as well for one that is over. Raises as ``strays`` does."""
        one = await self._read(standing.open_escrow, escrow)
        return await self._look(one) if one else None

    async def lost_charges(self, tenant: str | None = None) -> AsyncIterator[LostCharge]:
        """Charges that nobody asks about. Raises as ``strays`` does."""
        after = ""
        while page := await self._read(standing.pending_charges, tenant, after):
            for start in range(0, len(page), AT_ONCE):
                found = await asyncio.gather(*(self._look_at(*one) for one in page[start : start + AT_ONCE]))
                for lost in found:
                    if lost:
                        yield lost
            after = page[-1][0].id

    async def _look(self, one: Open) -> Stray | None:
        described = await self._described(ids.escrow_workflow(one.escrow))
        if described is None or described.status not in _RUNNING:
            return await self._not_running(one, described)
        task = described.raw_description.pending_workflow_task
        if task.attempt >= _TOO_MANY_ATTEMPTS:
            why = f"{task.attempt - 1} attempts to go on with it failed{await self._last_failure(described)}"
            return _stray(one, "stuck", described, task.original_scheduled_time.ToDatetime(UTC), why)
        going_on = described.raw_description.HasField("pending_workflow_task")  # a worker is about to
        if going_on and not self._thoroughly:
            return None
        unfollowed = set() if going_on else _unfollowed(one, described)
        if not (self._thoroughly or unfollowed or _differs(one, described) or _late(one)):
            return None
        return await self._abandoned(one, described, unfollowed) or await self._behind(one, described)

    async def _look_at(self, order: ChargeOrder, since: datetime) -> LostCharge | None:
        described = await self._described(ids.charge_workflow(order.id))
        if described and described.status in _RUNNING:
            return None
        now = await self._read(standing.charge_status, order.id)
        return LostCharge(order, _status(described), since) if now == "pending" else None

    async def _not_running(self, one: Open, described: WorkflowExecutionDescription | None) -> Stray | None:
        now = await self._read(standing.open_escrow, one.escrow)
        if now is None:  # it came to its end while we looked
            return None
        since = now.written_at
        if described and described.close_time:
            since = max(since, described.close_time)
        return _stray(now, "not_running", described, since, f"its workflow is {_status(described)}")

    async def _abandoned(self, one: Open, described: WorkflowExecutionDescription, sending: set[str]) -> Stray | None:
        """Whether a payout's workflow gave up, which only a mistake can cause: then nobody sends it."""
        for payout in sorted(sending):
            child = await self._described(payout)
            if child and child.status == WorkflowExecutionStatus.FAILED:
                return _stray(one, "stuck", described, child.close_time, f"the workflow {payout} failed")
        return None

    async def _behind(self, one: Open, described: WorkflowExecutionDescription) -> Stray | None:
        """What it knows and the books do not agree, now and after the time that a command under way may take."""
        found = await self._compared(one, described)
        if found:
            await asyncio.sleep(_GRACE.total_seconds())
            found = await self._compared(one, described)
        return found

    async def _compared(self, one: Open, described: WorkflowExecutionDescription) -> Stray | None:
        # In this order: what a workflow knows was in the books before.
        ours = await self._read(reads.escrow, one.escrow)
        theirs = await self._snapshot(one.escrow)
        now = await self._read(standing.open_escrow, one.escrow)
        if ours is None or now is None:
            return None
        if isinstance(theirs, str):
            return _stray(now, "behind", described, now.written_at, theirs)
        if theirs.version < ours.version and _acted_on(theirs) != _acted_on(ours):
            why = f"it knows version {theirs.version}, the books have {now.version}"
            return _stray(now, "behind", described, now.written_at, why)
        if theirs.version > now.version:
            why = f"it knows version {theirs.version}, the books have {now.version} only: were they put back?"
            return _stray(now, "stuck", described, now.written_at, why)
        if _late(now):
            due = datetime.now(UTC) - now.overdue
            return _stray(now, "behind", described, due, "its deadline has come and nothing happened")
        return None

    async def _snapshot(self, escrow: str) -> Escrow | str:
        """What its workflow knows, or why it does not say."""
        handle = self._client.get_workflow_handle(ids.escrow_workflow(escrow))

        async def ask() -> Escrow | str:
            try:
                snapshot: Escrow = await handle.query("snapshot", result_type=Escrow, rpc_timeout=_ANSWERS_WITHIN)
                return snapshot
            except (WorkflowQueryFailedError, WorkflowQueryRejectedError):
                return "it cannot say what it knows"
            except RPCError as error:
                if error.status == RPCStatusCode.NOT_FOUND:
                    return "it ended a moment ago"
                if error.status in {RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION}:
                    return f"it does not say what it knows within {_ANSWERS_WITHIN.seconds} s: does a worker run?"
                raise

        return await self._patiently(f"ask {escrow}", ask)

    async def _described(self, workflow: str) -> WorkflowExecutionDescription | None:
        handle = self._client.get_workflow_handle(workflow)

        async def describe() -> WorkflowExecutionDescription | None:
            try:
                return await handle.describe(rpc_timeout=_ANSWERS_WITHIN)
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND or "namespace" in error.message.lower():
                    raise
                return None

        return await self._patiently(f"look at {workflow}", describe)

    async def _last_failure(self, described: WorkflowExecutionDescription) -> str:
        """What the worker said when it last failed, from the end of the history; "" if it said nothing."""
        answer = await self._client.workflow_service.get_workflow_execution_history_reverse(
            GetWorkflowExecutionHistoryReverseRequest(
                namespace=self._client.namespace,
                execution=WorkflowExecution(workflow_id=described.id, run_id=described.run_id),
                maximum_page_size=_LAST_EVENTS,
            )
        )
        for event in answer.history.events:
            if event.HasField("workflow_task_failed_event_attributes"):
                failed = event.workflow_task_failed_event_attributes
                cause = WorkflowTaskFailedCause.Name(failed.cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_")
                return f": {cause.lower()}"
        return ""

    async def _read(self, query: Callable[..., T], *arguments: Any) -> T:
        return await self._patiently("read the books", lambda: asyncio.to_thread(query, self._engine, *arguments))


async def _once(what: str, attempt: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG001 - nobody is told
    return await attempt()


def _stray(
    one: Open, cause: Cause, described: WorkflowExecutionDescription | None, since: datetime | None, why: str
) -> Stray:
    since = since or datetime.now(UTC)
    return Stray(one.escrow, one.tenant, one.state, one.version, cause, _status(described), since, why)


def _status(described: WorkflowExecutionDescription | None) -> str:
    if described is None:
        return _MISSING
    return described.status.name.lower() if described.status else "running"


def _differs(one: Open, described: WorkflowExecutionDescription) -> bool:
    """Whether Temporal knows another state or deadline of it than the books: its timer is not the right one, then."""
    known = described.typed_search_attributes
    return known.get(STATE) != one.state or known.get(NEXT_DEADLINE) != one.due_at


def _unfollowed(one: Open, described: WorkflowExecutionDescription) -> set[str]:
    """The workflows of payouts that are to go, or are on their way, which are none of its children now."""
    children = {child.workflow_id for child in described.raw_description.pending_children}
    return {ids.payout_workflow(*payout) for payout in one.sending} - children


def _late(one: Open) -> bool:
    return one.overdue > _LATE


def _acted_on(escrow: Escrow) -> Escrow:
    """The escrow without what its workflow need not know: how far its payouts have come is for their own workflows."""
    payouts = tuple(
        one.model_copy(update={"status": "going", "reason": None, "reference": None, "destination": None})
        if one.going
        else one
        for one in escrow.payouts
    )
    same: dict[str, Any] = {"version": 0, "updated_at": escrow.created_at, "clock_offset": 0}
    return escrow.model_copy(update={"payouts": payouts, **same})
