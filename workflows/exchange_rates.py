"""The daily refresh of exchange rates; starter/schedules.py has Temporal start it. Source: domain.md, section 10."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.rates import RateActivities
    from models.exchange import RefreshResult
    from workflows.timeouts import RATES_KEEP_TRYING, RATES_RETRY, RATES_START_TO_CLOSE, RATES_TASK_QUEUE


@workflow.defn(name="ExchangeRatesWorkflow")
class ExchangeRatesWorkflow:
    """Reads the source until it answers or the day is over; the rates we have go on ageing meanwhile."""

    @workflow.run
    async def run(self) -> RefreshResult:
        """Refresh once; what came of it stands in the current details."""
        workflow.set_current_details("waiting for the source of exchange rates")
        result = await workflow.execute_activity_method(
            RateActivities.refresh,
            task_queue=RATES_TASK_QUEUE,
            start_to_close_timeout=RATES_START_TO_CLOSE,
            schedule_to_close_timeout=RATES_KEEP_TRYING,
            retry_policy=RATES_RETRY,
            summary="refresh exchange rates",
        )
        workflow.set_current_details(str(result))
        return result
