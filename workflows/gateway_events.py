"""Applying what a payment provider tells, for ever: one workflow takes stored events and carries out what they mean.

What an event means is decided anew at each step, by what the provider and our books say at that moment; so events may
come twice, late and in any order. Money moves by commands to the books only, each with an id of its own.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.gateway_events import GatewayEventActivities
    from models.gateway_events import Step
    from workflows.commit import commit
    from workflows.timeouts import (
        BOOKS_UNTIL_BACK,
        GATEWAY_EVENT_RETRY,
        GATEWAY_EVENT_START_TO_CLOSE,
        GATEWAY_EVENT_STEPS,
        GATEWAY_EVENTS_HEARTBEAT,
        GATEWAY_EVENTS_ROUNDS,
        GATEWAY_EVENTS_START_TO_CLOSE,
    )
    from workflows.waking import tell


@workflow.defn(name="GatewayEventsWorkflow")
class GatewayEventsWorkflow:
    """Started once and never over. What was applied and what was not is in the books: this may be terminated."""

    @workflow.run
    async def run(self) -> None:
        """Apply what is due, some at once, then go on with a fresh history."""
        for _ in range(GATEWAY_EVENTS_ROUNDS):
            due = await workflow.execute_activity_method(
                GatewayEventActivities.due_gateway_events,
                start_to_close_timeout=GATEWAY_EVENTS_START_TO_CLOSE,
                heartbeat_timeout=GATEWAY_EVENTS_HEARTBEAT,
                retry_policy=BOOKS_UNTIL_BACK,
                summary="what has the provider told?",
            )
            await asyncio.gather(*(_apply(number) for number in due))
            if workflow.info().is_continue_as_new_suggested():
                break
        workflow.continue_as_new()


async def _apply(number: int) -> None:
    """See one event through. What goes wrong with it stops no other: its lease ends, and it is taken up again."""
    try:
        step = await _judge(number)
        for _ in range(GATEWAY_EVENT_STEPS):
            if step.command is None:
                break
            outcome = await commit(step.command)
            if outcome.refusal is not None:
                step = _not_taken(step, outcome.refusal.code, outcome.refusal.message)
                break
            if outcome.escrow:
                await tell(outcome.escrow)
            step = await _judge(number)
        await _settle(await _woken(step))
    except FailureError as error:
        workflow.logger.error("event %d could not be applied: %s", number, error.cause or error)


async def _judge(number: int) -> Step:
    return await workflow.execute_activity_method(
        GatewayEventActivities.judge_gateway_event,
        number,
        start_to_close_timeout=GATEWAY_EVENT_START_TO_CLOSE,
        retry_policy=GATEWAY_EVENT_RETRY,
        summary=f"what does event {number} mean?",
    )


async def _settle(step: Step) -> None:
    await workflow.execute_activity_method(
        GatewayEventActivities.settle_gateway_event,
        step.model_copy(update={"command": None}),
        start_to_close_timeout=GATEWAY_EVENT_START_TO_CLOSE,
        retry_policy=BOOKS_UNTIL_BACK,
        summary=f"event {step.number}: {step.verdict}",
    )


def _not_taken(step: Step, code: str, message: str) -> Step:
    """The books refused. What a rival or a moment caused is looked into again; the rest is for a person."""
    passing = code in {"chargeback_open", "conflict", "idempotency_key_reused", "invalid_transition", "not_found"}
    return Step(number=step.number, verdict="wait" if passing else "refused", why=f"{code}: {message}"[:300])


async def _woken(step: Step) -> Step:
    """Have those ask the provider who wait for it. One that is not there leaves the event waiting."""
    for identifier in step.wake:
        try:
            await workflow.get_external_workflow_handle(identifier).signal("look_again")
        except FailureError:
            return step.model_copy(update={"verdict": "wait", "why": f"the workflow {identifier} does not run"})
    return step
