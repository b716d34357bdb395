"""Charging a buyer's payment method: written down first, credited to the wallet once the answer is definite."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.gateway import GatewayActivities
    from models.charges import Charge, ChargeOrder, ChargeResult
    from models.fields import printable
    from models.gateway import ChargeRequest, GatewayResult, LookUpRequest
    from workflows.asking import Nudge, find_out, sent
    from workflows.commit import begin_charge, settle_charge
    from workflows.timeouts import GATEWAY_RETRY, GATEWAY_SEND_FOR, GATEWAY_START_TO_CLOSE, GATEWAY_TASK_QUEUE


@workflow.defn(name="ChargeWorkflow")
class ChargeWorkflow:
    """pending → succeeded or declined. Running it again is harmless: the charge's id is the gateway's key."""

    def __init__(self) -> None:
        self._nudge = Nudge()

    @workflow.signal
    def look_again(self) -> None:
        """The provider has said that something happened: do not wait with the next question."""
        self._nudge.give()

    @workflow.run
    async def run(self, order: ChargeOrder) -> Charge:
        """Charge once and book the outcome; answers the charge as the books have it."""
        charge = await begin_charge(order)
        if charge.status != "pending":
            return charge
        result = await self._definite(_request(charge))
        return await settle_charge(_result(charge, result))

    async def _definite(self, request: ChargeRequest) -> GatewayResult:
        result = await sent(self._send(request))
        if result.status == "unknown":
            return await find_out(self._send, request, result, _look_up(request, result), self._nudge)
        return result

    async def _send(self, request: ChargeRequest) -> GatewayResult:
        return await workflow.execute_activity_method(
            GatewayActivities.charge,
            request,
            task_queue=GATEWAY_TASK_QUEUE,
            start_to_close_timeout=GATEWAY_START_TO_CLOSE,
            schedule_to_close_timeout=GATEWAY_SEND_FOR,
            retry_policy=GATEWAY_RETRY,
            summary=f"charge {request.amount} {request.currency}",
        )


def _request(charge: Charge) -> ChargeRequest:
    return ChargeRequest(
        key=charge.id,
        amount=charge.amount,
        currency=charge.currency,
        party=charge.party,
        payment_method=charge.payment_method,
        first_sent_at=charge.created_at,
        metadata={"charge": charge.id},
    )


def _look_up(request: ChargeRequest, result: GatewayResult) -> LookUpRequest:
    return LookUpRequest(
        operation="charge",
        key=request.key,
        amount=request.amount,
        currency=request.currency,
        reference=result.reference,
    )


def _result(charge: Charge, result: GatewayResult) -> ChargeResult:
    return ChargeResult(
        id=charge.id,
        status="succeeded" if result.status == "succeeded" else "declined",
        reference=printable(result.reference),
        reason=printable(f"{result.code}: {result.message}" if result.code else result.message),
    )
