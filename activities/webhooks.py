"""Posting a tenant's events where it wants them: signed, to public addresses only, at least once.

Source: http-contract.md; the Standard Webhooks specification (https://github.com/standard-webhooks/standard-webhooks).
"""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from secrets import randbelow
from time import monotonic
from typing import Final, TypeVar

import httpx
import psycopg
from sqlalchemy.exc import SQLAlchemyError
from standardwebhooks import Webhook
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.webhook_posting.connection import Resolve, SystemResolver, UnreachableError, post
from ledger.keyring import DamagedError, Keyring, UnknownKeyError
from ledger.posting import NUMBERED_AT_ONCE, PURGED_AT_ONCE, Failure, Posting, PostingQueue
from models.destinations import Destination, DestinationRefusedError

CALL_SECONDS: Final = 15
RESOLVE_SECONDS: Final = 5
_USER_AGENT: Final = "Holdfast-Webhooks/1"
_WITHOUT_OUR_KEY: Final = timedelta(minutes=5)

_WORK_FOR_SECONDS: Final = 60
_NUMBER_EVERY: Final = timedelta(milliseconds=250)
_LOOK_EVERY: Final = timedelta(seconds=1)  # each lane, and not all at the same moment
_PURGES: Final = 20

_GONE: Final = 410
_ASKS_FOR_TIME: Final = frozenset({429, 503})

Value = TypeVar("Value")


class Postman:
    """Posts one delivery at a time.

    ``allow_loopback`` lets webhooks go to this machine, in plain http too, for development. ``resolve`` answers every
    address of a name; ``trust`` says whose certificates are good. Both are the machine's own unless given.
    """

    def __init__(
        self,
        queue: PostingQueue,
        keyring: Keyring,
        *,
        allow_loopback: bool = False,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
        call_seconds: int = CALL_SECONDS,
    ) -> None:
        self._queue = queue
        self._keyring = keyring
        self._allow_loopback = allow_loopback
        self._resolve = resolve or SystemResolver(RESOLVE_SECONDS)
        self._trust = trust or httpx.create_ssl_context(trust_env=False)
        self._call_seconds = call_seconds

    def post_next(self) -> bool:
        """Post what is due next and write down what became of it; False when nothing is due.

        Raises when PostgreSQL is away: then it is posted again once its lease has run out.
        """
        posting = self._queue.claim()
        if posting is None:
            return False
        try:
            keys = self._secrets(posting)
        except (UnknownKeyError, DamagedError) as error:
            activity.logger.error("webhook endpoint %s: its secret cannot be read: %s", posting.endpoint, error)
            self._queue.postpone(posting, _WITHOUT_OUR_KEY)
            return True
        outcome = self._call(posting, keys)
        if isinstance(outcome, Failure):
            self._queue.failed(posting, outcome, randbelow(1000))
        else:
            self._queue.delivered(posting, outcome)
        return True

    def _secrets(self, posting: Posting) -> list[str]:
        kept = [posting.secret, *([posting.previous_secret] if posting.previous_secret else [])]
        return [self._keyring.decrypt("webhook", one, posting.endpoint).decode() for one in kept]

    def _call(self, posting: Posting, keys: list[str]) -> int | Failure:
        """The status of success, or why there was none."""
        body, now = posting.event.body(), datetime.now(UTC)
        signatures = [Webhook(key).sign(posting.event.id, now, body.decode()) for key in keys]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": _USER_AGENT,
            "Accept": "*/*",
            "webhook-id": posting.event.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        try:
            destination = Destination.parse(posting.url, allow_loopback=self._allow_loopback)
            # Looked up once, and what was judged is what is called: a name may lead elsewhere the next moment.
            addresses = destination.judged(self._resolve(destination.host, destination.port))
            answer = post(destination, addresses, headers, body, self._call_seconds, self._trust)
        except DestinationRefusedError as error:
            return Failure(f"not allowed: {error}"[:300])
        except UnreachableError as error:
            return Failure(str(error))
        if 200 <= answer.status <= 299:
            return answer.status
        later = _retry_after(answer.retry_after, now) if answer.status in _ASKS_FOR_TIME else None
        return Failure(_said(answer.status), answer.status, later, gone=answer.status == _GONE)


def _said(status: int) -> str:
    followed = ", which is not followed" if 300 <= status <= 399 else ""
    return f"it answered with HTTP status {status}{followed}"


def _retry_after(header: str | None, now: datetime) -> timedelta | None:
    """The wait that a server asks for, in seconds or until a date (RFC 9110, 10.2.3); None for anything else."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 10**8))
    try:
        at = parsedate_to_datetime(text)
        return max(timedelta(0), (at if at.tzinfo else at.replace(tzinfo=UTC)) - now)
    except (ValueError, TypeError, OverflowError):
        return None


class WebhookActivities:
    """The postman, and the numbering of events before it, as Temporal activities."""

    def __init__(self, queue: PostingQueue, postman: Postman) -> None:
        self._queue = queue
        self._postman = postman

    @activity.defn(name="number_events", no_thread_cancel_exception=True)
    def number(self) -> int:
        """Number events for about a minute, having deleted what is too old; answers how many events.

        Ends early when the worker shuts down. Raises while PostgreSQL is away: the workflow's retries are the wait.
        """
        for _ in range(_PURGES):
            activity.heartbeat()
            if _briefly(self._queue.purge) < PURGED_AT_ONCE:
                break
        return _for_a_minute(self._queue.number, NUMBERED_AT_ONCE, _NUMBER_EVERY)

    @activity.defn(name="post_webhooks", no_thread_cancel_exception=True)
    def post(self) -> int:
        """Post what is due for about a minute; answers how many calls were made. Ends and raises as ``number``."""
        return _for_a_minute(self._postman.post_next, 1, _LOOK_EVERY)


def _for_a_minute(work: Callable[[], int], full: int, pause: timedelta) -> int:
    """Work again and again, with a pause whenever there was less to do than ``full``; answers the sum."""
    until, done = monotonic() + _WORK_FOR_SECONDS, 0
    while monotonic() < until and not activity.is_worker_shutdown() and not activity.is_cancelled():
        activity.heartbeat()
        count = _briefly(work)
        done += count
        if count < full:
            activity.wait_for_worker_shutdown_sync(pause)
    return done


def _briefly(work: Callable[[], Value]) -> Value:
    """Say in one line why PostgreSQL could not: its own details would quote rows."""
    try:
        return work()
    except (psycopg.Error, SQLAlchemyError) as error:
        line = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
        raise ApplicationError(line, type=type(error).__name__) from None
