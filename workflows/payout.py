"""One payout: the ledger first, then the gateway, and no guess in between. Source: domain.md, section 11.

Running it again is harmless: every step is a command with an id of its own, and the gateway knows the operation's key.
"""

from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.gateway import GatewayActivities
    from models import ids
    from models.commands import SYSTEM, RecordPayout, SendPayout
    from models.escrow import Escrow, Payout
    from models.fields import printable
    from models.gateway import GatewayResult, LookUpRequest, TransferRequest
    from models.outcome import Outcome
    from models.states import PayoutStatus
    from workflows.asking import Nudge, find_out, sent
    from workflows.commit import commit, refused
    from workflows.inputs import PayoutInput
    from workflows.timeouts import GATEWAY_RETRY, GATEWAY_SEND_FOR, GATEWAY_START_TO_CLOSE, GATEWAY_TASK_QUEUE


@workflow.defn(name="PayoutWorkflow")
class PayoutWorkflow:
    """due → in transit → paid or failed; while the outcome is unknown, the money stays in transit."""

    def __init__(self) -> None:
        self._nudge = Nudge()

    @workflow.signal
    def look_again(self) -> None:
        """The provider has said that something happened: do not wait with the next question."""
        self._nudge.give()

    @workflow.run
    async def run(self, start: PayoutInput) -> Escrow:
        """Send one generation of a payout and book what became of it; answers the escrow as it then is."""
        key = ids.payout_key(start.payout, start.generation)
        outcome = await commit(_send(start, key))
        if outcome.escrow and not _of(outcome.escrow, start).going:
            return outcome.escrow  # all of it was taken back, or it was held, perhaps only just now
        booked = _accepted(outcome)
        payout = _of(booked, start)
        if payout.status != PayoutStatus.IN_TRANSIT:
            return booked
        request = _transfer(booked, payout, key)
        result = await sent(self._transfer(request))
        if result.status == "unknown":
            await commit(_record(start, key, result))
            result = await find_out(self._transfer, request, result, _look_up(request, result), self._nudge)
        return _accepted(await commit(_record(start, key, result)))

    async def _transfer(self, request: TransferRequest) -> GatewayResult:
        return await workflow.execute_activity_method(
            GatewayActivities.transfer,
            request,
            task_queue=GATEWAY_TASK_QUEUE,
            start_to_close_timeout=GATEWAY_START_TO_CLOSE,
            schedule_to_close_timeout=GATEWAY_SEND_FOR,
            retry_policy=GATEWAY_RETRY,
            summary=f"transfer {request.amount} {request.currency}",
        )


def _send(start: PayoutInput, key: str) -> SendPayout:
    return SendPayout(
        id=f"~{key}:send",
        escrow=start.escrow,
        actor=SYSTEM,
        received_at=workflow.now(),
        payout=start.payout,
        generation=start.generation,
    )


def _record(start: PayoutInput, key: str, result: GatewayResult) -> RecordPayout:
    outcome = {"succeeded": "paid", "declined": "failed"}.get(result.status, "unknown")
    reason = f"{result.code}: {result.message}" if result.code else result.message
    return RecordPayout(
        id=f"~{key}:{outcome}",
        escrow=start.escrow,
        actor=SYSTEM,
        received_at=workflow.now(),
        payout=start.payout,
        generation=start.generation,
        outcome=outcome,  # type: ignore[arg-type]
        reference=printable(result.reference, 200),
        reason=printable(reason, 500),
    )


def _transfer(booked: Escrow, payout: Payout, key: str) -> TransferRequest:
    return TransferRequest(
        key=key,
        amount=payout.amount,
        currency=booked.currency,
        destination=payout.destination or "",
        first_sent_at=_real_time(booked),
        metadata={"escrow": booked.id, "payout": payout.id},
    )


def _real_time(booked: Escrow) -> datetime:
    """When the books booked it as sent, on the real clock: the provider knows nothing of a test clock."""
    return booked.updated_at - timedelta(seconds=booked.clock_offset)


def _look_up(request: TransferRequest, result: GatewayResult) -> LookUpRequest:
    return LookUpRequest(
        operation="transfer",
        key=request.key,
        amount=request.amount,
        currency=request.currency,
        reference=result.reference,
    )


def _accepted(outcome: Outcome) -> Escrow:
    """The escrow of an outcome. A refusal here is an error of the program, for a person to see in the UI."""
    if outcome.refusal or outcome.escrow is None:
        raise refused(outcome.refusal) if outcome.refusal else RuntimeError("an outcome without an escrow")
    return outcome.escrow


def _of(escrow: Escrow, start: PayoutInput) -> Payout:
    return next(payout for payout in escrow.payouts if payout.id == start.payout)
