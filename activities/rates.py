"""Exchange rates as a Temporal activity: read them where they are published, and add what is new to the books."""

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.rate_sources.port import RatesMalformedError, RateSource, RatesUnavailableError
from ledger import rates
from models.errors import RefusedError
from models.exchange import RefreshResult


class RateActivities:
    """Refreshes everyone's rates from one source; ``source`` is None where the settings name none."""

    def __init__(self, source: RateSource | None, engine: Engine) -> None:
        self._source = source
        self._engine = engine

    @activity.defn(name="refresh_rates", no_thread_cancel_exception=True)
    def refresh(self) -> RefreshResult:
        """Add what the source has and we have not; again is harmless.

        Raises ``RatesUnavailable`` and ``NoRateSource``, to be tried again, and ``RatesMalformed``, which a person has
        to see: then no rate of the document is used, and the rates we have go on ageing.
        """
        if self._source is None:
            message = "no source of exchange rates: set HOLDFAST_RATES_SOURCE, or delete the schedule exchange-rates"
            raise ApplicationError(message, type="NoRateSource")
        # "from None": causes would make the failure too long for the server to show, and hold others' words.
        try:
            published = self._source.fetch()
            new = rates.put_rates(self._engine, published)
        except RatesUnavailableError as error:
            raise ApplicationError(str(error), type="RatesUnavailable") from None
        except RatesMalformedError as error:
            raise ApplicationError(str(error), type="RatesMalformed", non_retryable=True) from None
        except RefusedError as error:
            raise ApplicationError(f"{self._source.name}: {error}", type="RatesMalformed", non_retryable=True) from None
        except (psycopg.Error, SQLAlchemyError) as error:
            brief = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
            raise ApplicationError(brief, type=type(error).__name__) from None
        newest = max(rate.as_of for rate in published)
        return RefreshResult(source=self._source.name, as_of=newest, rates=len(published), new=new)
