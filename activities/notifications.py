"""Telling the news: from the outbox to the channels, at least once and in the order of each escrow's events.

Handed over first, then written down: a crash in between tells it again, and never leaves it untold. The row stays
locked meanwhile, so several workers may tell at once without overtaking each other.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Final

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.channels.port import Channel, ChannelUnavailableError, UndeliverableError
from ledger.outbox import Claim, Outbox
from models.notifications import Contact, Message

# With the waits of the outbox (1 s doubling to an hour) this is three days; then the next event has its turn.
GIVE_UP_AFTER_ATTEMPTS: Final = 84
# What of one event takes longer is left to the next attempt, so that a slow server never keeps a row locked for long.
_ONE_EVENT_SECONDS: Final = 30
_DRAIN_FOR_SECONDS: Final = 60
_LOOK_AGAIN: Final = timedelta(milliseconds=500)


class Courier:
    """Tells one event at a time by every channel. ``operator`` is told what operators are; None tells them nothing."""

    def __init__(self, outbox: Outbox, channels: Sequence[Channel], operator: Contact | None = None) -> None:
        self._outbox = outbox
        self._channels = channels
        self._operator = operator

    def deliver_next(self) -> bool:
        """Tell the next event that is due; False when there is none. Raises when PostgreSQL is away."""
        with self._outbox.claim() as claim:
            if claim is None:
                return False
            failure = self._tell(replace(claim, news=replace(claim.news, operator=self._operator)))
            if failure is None:
                claim.delivered()
            else:
                claim.put_off(failure)
        return True

    def _tell(self, claim: Claim) -> str | None:
        """Hand over what is still to be told of an event; answers why something has to wait, if so."""
        if claim.unreadable:
            return claim.unreadable
        failures: list[str] = []
        began = monotonic()
        for channel in self._channels:
            try:
                messages = channel.addressed(claim.news)
            except Exception as error:  # noqa: BLE001 - a text that cannot be made must not stop all others
                failures.append(f"{channel.name}: {type(error).__name__}")
                continue
            for message in messages:
                if (channel.name, message.role, message.party) in claim.told:
                    continue
                if monotonic() - began > _ONE_EVENT_SECONDS:
                    failures.append(f"{channel.name}: no time left")
                elif failure := _handed_over(channel, message, claim):
                    failures.append(f"{channel.name} to {message.role}: {failure}")
        return "; ".join(failures) or None


def _handed_over(channel: Channel, message: Message, claim: Claim) -> str | None:
    """Hand one message over and write down what became of it; answers why it has to wait, if so."""
    try:
        channel.hand_over(message)
    except UndeliverableError as error:
        claim.record(channel.name, message, "undeliverable", str(error))
        return None
    except Exception as error:  # noqa: BLE001 - whatever a channel meets holds back this escrow's news only
        # Of an error that is not the port's own nobody knows whom its words are about.
        failure = str(error) if isinstance(error, ChannelUnavailableError) else type(error).__name__
        if claim.attempts + 1 < GIVE_UP_AFTER_ATTEMPTS:
            return failure
        claim.record(channel.name, message, "undeliverable", failure)
        return None
    claim.record(channel.name, message, "sent", None)
    return None


class NotificationActivities:
    """The courier as a Temporal activity."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier

    @activity.defn(no_thread_cancel_exception=True)
    def deliver(self) -> int:
        """Tell what is due for about a minute, looking again twice a second; answers how many events were told.

        Ends early when the worker shuts down. Raises while PostgreSQL is away: the workflow's retries are the wait.
        """
        until, told = monotonic() + _DRAIN_FOR_SECONDS, 0
        while monotonic() < until and not activity.is_worker_shutdown() and not activity.is_cancelled():
            activity.heartbeat()
            if _briefly(self._courier.deliver_next):
                told += 1
            else:
                activity.wait_for_worker_shutdown_sync(_LOOK_AGAIN)
        return told


def _briefly(work: Callable[[], bool]) -> bool:
    """Say in one line why PostgreSQL could not: its own details would quote rows."""
    try:
        return work()
    except (psycopg.Error, SQLAlchemyError) as error:
        line = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
        raise ApplicationError(line, type=type(error).__name__) from None
