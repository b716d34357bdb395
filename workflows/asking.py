"""Getting from "unknown" to a definite answer: ask by the operation's own key, for as long as it takes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.gateway import GatewayActivities
    from models.gateway import GatewayResult, LookUpRequest
    from workflows import timeouts

Request = TypeVar("Request")


async def sent(attempt: Awaitable[GatewayResult]) -> GatewayResult:
    """The answer to an attempt; when the attempts themselves ran out, not knowing is the answer."""
    try:
        return await attempt
    except ActivityError as error:
        cause = error.cause or error
        return GatewayResult(status="unknown", message=str(cause)[:300])


async def find_out(
    send: Callable[[Request], Awaitable[GatewayResult]], request: Request, question: LookUpRequest
) -> GatewayResult:
    """Ask until the answer is definite. Where the provider has nothing, the same operation is sent again: same key.

    Never a guess: an answer of "not found" does not mean "failed", an earlier attempt may still be on its way.
    """
    wait = timeouts.RESEND_FIRST
    while True:
        result = await workflow.execute_activity_method(
            GatewayActivities.find_out,
            question,
            task_queue=timeouts.GATEWAY_TASK_QUEUE,
            start_to_close_timeout=timeouts.GATEWAY_START_TO_CLOSE,
            retry_policy=timeouts.ASK_AGAIN,
            summary=f"what became of {question.key}?",
        )
        if result.status == "not_found":
            await workflow.sleep(wait)
            wait = min(wait * 2, timeouts.RESEND_LAST)
            result = await sent(send(request))
        if result.status in {"succeeded", "declined"}:
            return result
