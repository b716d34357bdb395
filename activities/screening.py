"""Screening as Temporal activities: ask the provider, write down what it answered, see whose money that lets go."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.screening_providers.port import (
    ScreeningImpossibleError,
    ScreeningProvider,
    ScreeningUnavailableError,
)
from ledger import parties
from ledger.keyring import Keyring
from ledger.personal import UnreadableError
from ledger.seals import Seals
from models.errors import ErrorCode, RefusedError
from models.screening import HeldPayout, LiftedPage, ScreeningResult, ScreenParty


class ScreeningActivities:
    """Everything a screening does outside its workflow, with one provider."""

    def __init__(self, provider: ScreeningProvider, engine: Engine, keys: Keyring) -> None:
        self._provider = provider
        self._engine = engine
        self._keys = keys
        self._seals = Seals(keys)

    @activity.defn(name="screen_party", no_thread_cancel_exception=True)
    def screen(self, party: ScreenParty) -> ScreeningResult:
        """Ask about the party as it is now and record the answer; again is harmless.

        Raises ``ScreeningUnavailable``, to be tried again; what only a person can mend is not. Until there is an
        answer, nothing about the party changes.
        """
        provider = self._provider
        with _said_briefly(provider.name):
            answer = provider.screen(parties.subject(self._engine, self._keys, party))
            return parties.record_screening(self._engine, party, provider.name, answer)

    @activity.defn(name="lifted_payouts", no_thread_cancel_exception=True)
    def lifted(self, page: LiftedPage) -> list[HeldPayout]:
        """Payouts whose hold has lost its reason, a page at a time, each with the seal of the request for it."""
        with _said_briefly(self._provider.name):
            held = parties.lifted_payouts(self._engine, page)
        return [one.model_copy(update={"seal": self._seals.of(one.request(page), page.tenant)}) for one in held]


@contextmanager
def _said_briefly(provider: str) -> Iterator[None]:
    """Failures without what caused them: rows and requests have names in them, and histories are kept long."""
    try:
        yield
    except ScreeningUnavailableError as error:
        raise ApplicationError(f"{provider}: {error}", type="ScreeningUnavailable") from None
    except ScreeningImpossibleError as error:
        code = ErrorCode.INTERNAL_ERROR.code
        raise ApplicationError(f"{provider}: {error}", {}, type=code, non_retryable=True) from None
    except RefusedError as error:
        refusal = error.refusal
        raise ApplicationError(refusal.message, refusal.details, type=refusal.code, non_retryable=True) from None
    except UnreadableError as error:
        raise ApplicationError(str(error), type="Unreadable") from None
    except (psycopg.Error, SQLAlchemyError) as error:
        brief = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
        raise ApplicationError(brief, type=type(error).__name__) from None
    except Exception as error:  # noqa: BLE001 - of an error that is not the port's nobody knows whom its words are about
        raise ApplicationError(f"{provider}: {type(error).__name__}", type=type(error).__name__) from None
