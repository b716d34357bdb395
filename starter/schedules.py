"""What Temporal starts by the clock: the daily refresh of exchange rates, and a daily round of reconciliation."""

from datetime import timedelta
from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from settings import Settings
from workflows.exchange_rates import ExchangeRatesWorkflow
from workflows.reconcile import DailyReconciliationWorkflow
from workflows.timeouts import RATES_CATCH_UP, RECONCILIATION_CATCH_UP, RECONCILIATION_TASK_QUEUE, TASK_QUEUE

EXCHANGE_RATES: Final = "exchange-rates"
DAILY_RECONCILIATION: Final = "daily-reconciliation"
_ANSWERS_WITHIN: Final = timedelta(seconds=10)


class SchedulesUnavailableError(Exception):
    """Temporal did not take a schedule; the message says which, and why."""


async def ensure_schedules(client: Client, config: Settings) -> None:
    """Have the refresh of exchange rates scheduled, as it is written here, if the settings name a source of them.

    The first time it runs at once. Later only what has changed is changed: a schedule that somebody paused stays
    paused, and one that no settings ask for any more is deleted by hand. Safe from several workers at once. Raises
    ``SchedulesUnavailableError``.
    """
    if not config.rates_source:
        return
    await _ensure(client, EXCHANGE_RATES, _daily_rates(), at_once=True)


async def ensure_reconciliation(client: Client) -> None:
    """Have a round of reconciliation every day; the same holds for it, but that the first one waits for its hour.

    Raises ``SchedulesUnavailableError``.
    """
    await _ensure(client, DAILY_RECONCILIATION, _daily_round(), at_once=False)


def _daily_rates() -> Schedule:
    """Every day at 16:30 in Frankfurt, half an hour after the European Central Bank publishes on its working days."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            ExchangeRatesWorkflow.run,
            id=EXCHANGE_RATES,
            task_queue=TASK_QUEUE,
            static_summary="daily refresh of exchange rates",
        ),
        spec=ScheduleSpec(
            calendars=[ScheduleCalendarSpec(hour=(ScheduleRange(16),), minute=(ScheduleRange(30),))],
            time_zone_name="Europe/Berlin",
        ),
        # A refresh may try for hours; another beside it would not find more.
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=RATES_CATCH_UP),
    )


def _daily_round() -> Schedule:
    """Every day at 03:40 UTC, when Europe sleeps and Asia has not had its lunch."""
    return Schedule(
        action=ScheduleActionStartWorkflow(
            DailyReconciliationWorkflow.run,
            id=DAILY_RECONCILIATION,
            task_queue=RECONCILIATION_TASK_QUEUE,
            static_summary="daily round of reconciliation",
        ),
        spec=ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=(ScheduleRange(3),), minute=(ScheduleRange(40),))]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=RECONCILIATION_CATCH_UP),
    )


async def _ensure(client: Client, name: str, wanted: Schedule, *, at_once: bool) -> None:
    try:
        await _keep(client, name, wanted, at_once=at_once)
    except RPCError as error:
        raise SchedulesUnavailableError(
            f"the schedule {name} cannot be kept in the Temporal namespace {client.namespace}: "
            f"{error.status.name}: {error.message}"
        ) from error


async def _keep(client: Client, name: str, wanted: Schedule, *, at_once: bool) -> None:
    try:
        await client.create_schedule(name, wanted, trigger_immediately=at_once, rpc_timeout=_ANSWERS_WITHIN)
    except ScheduleAlreadyRunningError:

        def changed(known: ScheduleUpdateInput) -> ScheduleUpdate | None:
            schedule = known.description.schedule
            if _terms(schedule) == _terms(wanted):
                return None
            wanted.state = schedule.state
            return ScheduleUpdate(wanted)

        await client.get_schedule_handle(name).update(changed, rpc_timeout=_ANSWERS_WITHIN)


def _terms(schedule: Schedule) -> object:
    """What of a schedule is ours to say. Every update costs the runs that are due at that very moment."""
    action = schedule.action
    does = (action.workflow, action.id, action.task_queue) if isinstance(action, ScheduleActionStartWorkflow) else None
    return does, schedule.spec.calendars, schedule.spec.time_zone_name, schedule.policy
