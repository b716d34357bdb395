"""Telling the news, for ever: one workflow keeps a few activities draining the outbox, on a task queue of their own."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from workflows.timeouts import (
        DELIVERY_HEARTBEAT,
        DELIVERY_LANES,
        DELIVERY_RETRY,
        DELIVERY_ROUNDS,
        DELIVERY_START_TO_CLOSE,
        NOTIFICATIONS_TASK_QUEUE,
    )


@workflow.defn(name="DeliverWorkflow")
class DeliverWorkflow:
    """Started once and never over. What is told and what is not is the outbox's to know: this may be terminated."""

    @workflow.run
    async def run(self) -> None:
        """Drain side by side for a while, then go on with a fresh history."""
        await asyncio.gather(*(_drain(lane) for lane in range(1, DELIVERY_LANES + 1)))
        workflow.continue_as_new()


async def _drain(lane: int) -> None:
    for _ in range(DELIVERY_ROUNDS):
        await workflow.execute_activity_method(
            NotificationActivities.deliver,
            task_queue=NOTIFICATIONS_TASK_QUEUE,
            start_to_close_timeout=DELIVERY_START_TO_CLOSE,
            heartbeat_timeout=DELIVERY_HEARTBEAT,
            retry_policy=DELIVERY_RETRY,
            summary=f"tell the news, lane {lane}",
        )
