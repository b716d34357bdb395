"""The command `reconcile`: a round now, or the one that runs, through a worker; and what it leaves open."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from ledger import corrections, reconciliation
from models.money import Money
from models.reconciliation import Balance, Reconciliation
from starter.arrival import OutcomeUnknownError
from starter.embedded.child import StackError
from starter.operating.lookup import sheet_text
from starter.operating.office import Office, office
from starter.operating.reconciling import documents, told
from starter.progress import Progress
from starter.reports.sheet import Column, Sheet
from starter.reports.visible import visible
from starter.sender import Sender
from workflows.reconcile import RECONCILIATION, ReconcileWorkflow
from workflows.timeouts import RECONCILIATION_TASK_QUEUE

_LOOK_AGAIN_SECONDS: Final = 0.5
_NO_SIGN_SECONDS: Final = 120.0
_ANSWERS_WITHIN: Final = timedelta(seconds=5)
_SHOWN: Final = 20
_METADATA: Final = "__temporal_workflow_metadata"
_COLUMNS: Final = (
    Column("currency", "code"),
    Column("theirs", "money", called="provider has"),
    Column("fees", "money", called="of it fees"),
    Column("ours", "money", called="gateway_cash"),
    Column("explained", "money"),
    Column("unexplained", "money"),
)

Handle = WorkflowHandle[ReconcileWorkflow, Reconciliation]


def reconcile_now(home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any], bool]:
    """Have everything compared; answers it for people and for scripts, and whether nothing is left open but
    what is late.

    Raises ``MisuseError``, ``EndedError`` (outcome_unknown: the round goes on without us) and ``StackError``.
    """
    with office(home, quiet=quiet) as desk:
        desk.progress.doing("Asking a worker to compare the books with the provider's.")
        done = desk.see_to(lambda client, sender: _round(client, sender, desk.progress))
        text, document = _left(desk, done)
    # What is late is in use, and not at odds: on a busy platform some of it is there in every round.
    agreed = not (done.found.keys() - {"late"}) and not done.failed
    return text, {"round": done.model_dump(mode="json"), **document}, agreed


async def _round(client: Client, sender: Sender, progress: Progress) -> Reconciliation:
    """Start a round unless one runs, and follow it to its end."""
    handle: Handle = await sender.patiently(
        "reconcile",
        lambda: client.start_workflow(
            ReconcileWorkflow.run,
            id=RECONCILIATION,
            task_queue=RECONCILIATION_TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary="reconciliation, asked for by hand",
        ),
    )
    watching = asyncio.create_task(_watch(handle, progress))
    result = asyncio.create_task(handle.result())
    try:
        await asyncio.wait((watching, result), return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            await watching  # it raises
        return await result
    except WorkflowFailureError as error:
        raise StackError(f"The round could not be finished: {visible(str(error.cause))}") from error
    except RPCError as error:
        raise OutcomeUnknownError(f"reconcile: {error}") from error
    finally:
        watching.cancel()
        result.cancel()


async def _watch(handle: Handle, progress: Progress) -> None:
    """Tell what the round does; raises ``OutcomeUnknownError`` once nothing has stirred for too long."""
    loop = asyncio.get_running_loop()
    last, seen, said = loop.time(), (0, b""), ""
    while True:
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        with suppress(RPCError):
            now = await _signs_of_life(handle)
            if now != seen or now[0] > 1:
                last, seen = loop.time(), now
        with suppress(RPCError, WorkflowQueryFailedError):
            details = await _details(handle)
            if details and details != said:
                said = details
                progress.doing(details)
        if loop.time() - last > _NO_SIGN_SECONDS:
            raise OutcomeUnknownError("nothing works at the round")


async def _signs_of_life(handle: Handle) -> tuple[int, bytes]:
    """The most attempts at an activity: after the first it is tried again for as long as the workflow says. And what
    changes whenever anybody works at the round: its history, and what its activities report.
    """
    found = (await handle.describe()).raw_description
    reports = b"".join(one.SerializeToString() for one in found.pending_activities)
    events = found.workflow_execution_info.history_length
    return max((one.attempt for one in found.pending_activities), default=0), b"%d %b" % (events, reports)


async def _details(handle: Handle) -> str:
    """What the workflow says that it does."""
    found: WorkflowMetadata = await handle.query(_METADATA, result_type=WorkflowMetadata, rpc_timeout=_ANSWERS_WITHIN)
    return found.current_details.strip().rpartition("\n")[2].removeprefix("- ")


def _left(desk: Office, done: Reconciliation) -> tuple[str, dict[str, Any]]:
    """What is open after the round."""
    found, has_more = reconciliation.differences(desk.engine, "open", _SHOWN)
    waiting = {one.difference: one for one in corrections.waiting(desk.engine)}
    lines = [
        sheet_text(Sheet(f"Reconciled with {done.provider}", _COLUMNS, _rows(done), "Nothing was moved yet.")).rstrip()
    ]
    lines += ["", *_equations(done), "", _counts(done), ""]
    if done.failed:
        lines += [f"The round is not whole: {visible(done.failed)}", ""]
    if not found:
        whole = f"Nothing differs: books, {done.provider} and workflows agree."
        lines.append("Nothing differs in what could be compared." if done.failed else whole)
    else:
        more = ", the oldest first; `holdfast reconcile list` goes on" if has_more else ""
        lines += [f"{len(found)} {'difference is' if len(found) == 1 else 'differences are'} open{more}.", ""]
        lines += told(found, waiting)
    return "\n".join(lines), {"data": documents(found, waiting), "has_more": has_more}


def _rows(done: Reconciliation) -> list[dict[str, Any]]:
    return [one.model_dump() | {"explained": sum(one.explained.values())} for one in done.balances]


def _equations(done: Reconciliation) -> Iterator[str]:
    """EUR: 1,010.00 + 30.00 fees - 970.00 gateway_cash = 20.00 contested + 50.00 unexplained."""
    for one in done.balances:
        fees = f" {'+' if one.fees < 0 else '-'} {_number(one, abs(one.fees))} fees" if one.fees else ""
        explained = [f"{_number(one, units)} {visible(why)}" for why, units in one.explained.items() if units]
        parts = " + ".join([*explained, f"{_number(one, one.unexplained)} unexplained"])
        yield f"  {one.currency}: {_number(one, one.theirs)}{fees} - {_number(one, one.ours)} gateway_cash = {parts}"


def _number(balance: Balance, units: int) -> str:
    return str(Money(units, balance.currency)).rpartition(" ")[0]


def _counts(done: Reconciliation) -> str:
    return (
        f"{done.lines:,} lines of {done.provider}, {done.matched:,} matched; {done.escrows:,} escrows looked at; "
        f"healed {done.healed:,}."
    )
