"""Posting webhooks, for ever: one workflow keeps a few activities at it, on a task queue of their own."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.webhooks import WebhookActivities
    from workflows.timeouts import (
        WEBHOOKS_HEARTBEAT,
        WEBHOOKS_LANES,
        WEBHOOKS_RETRY,
        WEBHOOKS_ROUNDS,
        WEBHOOKS_START_TO_CLOSE,
        WEBHOOKS_TASK_QUEUE,
    )


@workflow.defn(name="WebhooksWorkflow")
class WebhooksWorkflow:
    """Started once and never over. What is posted and what is not is PostgreSQL's to know: this may be terminated."""

    @workflow.run
    async def run(self) -> None:
        """Number and post side by side for a while, then go on with a fresh history."""
        await asyncio.gather(_number(), *(_post(lane) for lane in range(1, WEBHOOKS_LANES + 1)))
        workflow.continue_as_new()


async def _number() -> None:
    for _ in range(WEBHOOKS_ROUNDS):
        await workflow.execute_activity_method(
            WebhookActivities.number,
            task_queue=WEBHOOKS_TASK_QUEUE,
            start_to_close_timeout=WEBHOOKS_START_TO_CLOSE,
            heartbeat_timeout=WEBHOOKS_HEARTBEAT,
            retry_policy=WEBHOOKS_RETRY,
            summary="number events",
        )


async def _post(lane: int) -> None:
    for _ in range(WEBHOOKS_ROUNDS):
        await workflow.execute_activity_method(
            WebhookActivities.post,
            task_queue=WEBHOOKS_TASK_QUEUE,
            start_to_close_timeout=WEBHOOKS_START_TO_CLOSE,
            heartbeat_timeout=WEBHOOKS_HEARTBEAT,
            retry_policy=WEBHOOKS_RETRY,
            summary=f"post webhooks, lane {lane}",
        )
