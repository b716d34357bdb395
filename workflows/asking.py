"""Getting from "unknown" to a definite answer: ask by the operation's own key, for as long as it takes.

The waits between two questions grow to minutes; a ``Nudge`` (the provider has said that something happened) ends one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.gateway import GatewayActivities
    from models.gateway import GatewayResult, LookUpRequest
    from workflows import timeouts

Request = TypeVar("Request")


class Nudge:
    """Ends the wait before the next question, once each time that it is given."""

    def __init__(self) -> None:
        self._given = False

    def give(self) -> None:
        """Ask now."""
        self._given = True

    def forget(self) -> None:
        """What was given before counts no more: a question is about to be asked anyway."""
        self._given = False

    async def taken(self, within: timedelta | None = None) -> bool:
        """Wait until it is given, at most so long; False when it was not."""
        try:
            await workflow.wait_condition(lambda: self._given, timeout=within)
        except TimeoutError:
            return False
        self._given = False
        return True


async def sent(attempt: Awaitable[GatewayResult]) -> GatewayResult:
    """The answer to an attempt; when the attempts themselves ran out, not knowing is the answer."""
    try:
        return await attempt
    except ActivityError as error:
        cause = error.cause or error
        return GatewayResult(status="unknown", message=str(cause)[:300])


async def find_out(
    send: Callable[[Request], Awaitable[GatewayResult]],
    request: Request,
    unknown: GatewayResult,
    question: LookUpRequest,
    nudge: Nudge,
) -> GatewayResult:
    """Ask until the answer is definite. Where the provider has nothing, the same operation is sent again: same key.

    Never a guess: an answer of "not found" does not mean "failed", an earlier attempt may still be on its way.
    ``unknown`` is what the last attempt was answered.
    """
    wait = timeouts.RESEND_FIRST
    await _left_alone(unknown)
    while True:
        result = await _asked(question, nudge)
        if result.status == "not_found":
            if await nudge.taken(within=wait):
                continue
            wait = min(wait * 2, timeouts.RESEND_LAST)
            result = await sent(send(request))
        if result.status in {"succeeded", "declined"}:
            return result
        await _left_alone(result)


async def _left_alone(result: GatewayResult) -> None:
    """Ask nothing for as long as the provider said with its answer, at most five minutes (the adapter sees to it).

    A nudge does not end it: many operations may be told of at once, and it is all of us that the provider wants to hear
    less of. The question that follows knows what the nudge was about.

    Histories of before replay without a patch: this starts a timer only for what no result of theirs has.
    """
    if result.retry_after_seconds is not None:
        silence = timedelta(seconds=result.retry_after_seconds)
        await workflow.sleep(silence, summary="the provider wants to be left alone")


async def _asked(question: LookUpRequest, nudge: Nudge) -> GatewayResult:
    """One definite answer. A nudge gives the question up, which only asks, and asks it anew without its wait."""
    while True:
        nudge.forget()
        asking = workflow.start_activity_method(
            GatewayActivities.find_out,
            question,
            task_queue=timeouts.GATEWAY_TASK_QUEUE,
            start_to_close_timeout=timeouts.GATEWAY_START_TO_CLOSE,
            retry_policy=timeouts.ASK_AGAIN,
            summary=f"what became of {question.key}?",
        )
        nudged = asyncio.create_task(nudge.taken())
        await workflow.wait([asking, nudged], return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            nudged.cancel()
            return await asking
        asking.cancel()
        with suppress(ActivityError):
            return await asking  # its answer came at the same time
