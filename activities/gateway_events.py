"""What an event of a payment provider calls for, by how things stand with the provider and in the books right now.

The event itself is only a hint at what to compare; so it does not matter how often, how late and in which order events
come. This decides and moves nothing: the workflow has the books apply the command that a step carries.
"""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, Literal, TypeVar

import psycopg
from sqlalchemy.exc import SQLAlchemyError
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.gateways.port import Contested, GatewayMisconfiguredError, GatewayRecords, GatewayUnavailableError
from ledger import reads
from ledger.gateway_events import GatewayEvents, KnownCharge
from ledger.seals import Seals
from models import ids
from models.commands import SYSTEM, CloseChargeback, OpenChargeback, RecordPayout
from models.differences import readable
from models.escrow import Chargeback, Escrow
from models.fields import printable
from models.gateway_events import ReceivedEvent, Step
from models.states import ChargebackStatus, PayoutStatus

Answer = TypeVar("Answer")
Sealed = TypeVar("Sealed", OpenChargeback, CloseChargeback)
Asked = Literal["charge", "dispute", "transfer"]
# ``unknown`` waits as well, but not for ever: what it is about may be somebody else's.
Settled = Literal["wait", "unknown", "applied", "ignored", "refused"]
Follows = OpenChargeback | CloseChargeback | RecordPayout

_ABOUT: Final[dict[str, Asked]] = {
    "payment_intent.succeeded": "charge",
    "payment_intent.processing": "charge",
    "payment_intent.payment_failed": "charge",
    "payment_intent.canceled": "charge",
    "charge.succeeded": "charge",
    "charge.failed": "charge",
    "charge.dispute.created": "dispute",
    "charge.dispute.updated": "dispute",
    "charge.dispute.closed": "dispute",
    "charge.dispute.funds_withdrawn": "dispute",
    "charge.dispute.funds_reinstated": "dispute",
    "transfer.created": "transfer",
    "transfer.updated": "transfer",
    "transfer.reversed": "transfer",
    "transfer.paid": "transfer",
    "transfer.failed": "transfer",
}
"""Events that mean something, and what is looked into. Source: docs.stripe.com/api/events/types."""

# Our own reply may still be on its way, and PostgreSQL away for a while; after this it is not going to come.
_GIVE_UP_AFTER: Final = timedelta(days=3)
# The funding follows its charge at once; a charge that funded nothing after this long is a top-up of a wallet.
_FUNDS_WITHIN: Final = timedelta(minutes=10)
_LOOK_FOR_SECONDS: Final = 60
_LOOK_AGAIN: Final = timedelta(milliseconds=250)

log = logging.getLogger(__name__)


class _SettledError(Exception):
    """What an event comes to when no command follows from it."""

    def __init__(self, verdict: Settled, why: str | None = None, *wake: str) -> None:
        super().__init__(why)
        self.verdict, self.why, self.wake = verdict, why, wake


class GatewayEventActivities:
    """Looks into events. ``records`` is the provider, ``seals`` what the books ask of commands that are not a system's.

    ``at_once`` and ``lease``: how many events are claimed together, and for how long.
    """

    def __init__(
        self,
        events: GatewayEvents,
        records: GatewayRecords,
        seals: Seals | None,
        *,
        at_once: int = 10,
        lease: timedelta = timedelta(minutes=5),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._events = events
        self._records = records
        self._seals = seals
        self._at_once = at_once
        self._lease = lease
        self._now = now

    @activity.defn(no_thread_cancel_exception=True)
    def due_gateway_events(self) -> list[int]:
        """Wait up to a minute for events that are due, and claim some. Ends early when the worker shuts down.

        Raises while PostgreSQL is away: the workflow's retries are the wait.
        """
        until = monotonic() + _LOOK_FOR_SECONDS
        while monotonic() < until and not activity.is_worker_shutdown() and not activity.is_cancelled():
            activity.heartbeat()
            if due := _briefly(lambda: self._events.claim(self._at_once, self._lease)):
                return due
            activity.wait_for_worker_shutdown_sync(_LOOK_AGAIN)
        return []

    @activity.defn(no_thread_cancel_exception=True)
    def judge_gateway_event(self, number: int) -> Step:
        """What the event calls for now."""
        return _briefly(lambda: self.judge(number))

    @activity.defn(no_thread_cancel_exception=True)
    def settle_gateway_event(self, step: Step) -> None:
        """Write down what became of the event, or that it waits."""
        _briefly(lambda: self.settle(step))

    def judge(self, number: int) -> Step:
        """What the event calls for now. Raises ``psycopg.Error`` or ``SQLAlchemyError`` while PostgreSQL is away."""
        event = self._events.pending(number)
        if event is None:
            return Step(number=number, verdict="applied")
        try:
            return Step(number=number, verdict="act", command=self._command(event))
        except _SettledError as found:
            if found.verdict != "unknown":
                return Step(number=number, verdict=found.verdict, why=found.why, wake=found.wake)
            if self._now() - event.received_at < _GIVE_UP_AFTER:
                return Step(number=number, verdict="wait", why=found.why)
            return Step(number=number, verdict="ignored", why=f"given up after {_GIVE_UP_AFTER.days} days: {found.why}")
        except (GatewayUnavailableError, GatewayMisconfiguredError) as error:
            return Step(number=number, verdict="wait", why=str(error)[:300])

    def settle(self, step: Step) -> None:
        """Write down what became of the event. What a person has to see is an error in the log as well."""
        if step.verdict in {"wait", "act"}:
            self._events.put_off(step.number, step.why or "not done after many steps")
            return
        if step.verdict == "refused":
            log.error("event %d of the payment provider needs a person: %s", step.number, step.why)
        self._events.settle(step.number, step.verdict, step.why)  # type: ignore[arg-type]  # the others were put off

    # What each kind means -----------------------------------------------------------------------------------------

    def _command(self, event: ReceivedEvent) -> Follows:
        about = _ABOUT.get(event.type)
        if about is None or event.reference is None:
            raise _SettledError("ignored", f"{event.type} means nothing to us")
        if about == "dispute":
            return self._dispute(event, event.reference)
        if event.key is None:
            raise _SettledError("ignored", "it is about no operation of ours")
        return (
            self._charge(event, event.key, event.reference)
            if about == "charge"
            else self._transfer(event, event.key, event.reference)
        )

    def _charge(self, event: ReceivedEvent, key: str, reference: str) -> Follows:
        charge = self._known_charge(key)
        if charge.status == "pending":
            raise _SettledError("applied", "the charge's workflow was told to ask", ids.charge_workflow(key))
        if charge.status == "succeeded" and event.type.endswith(("succeeded", "processing")):
            raise _SettledError("ignored", "the books know already that the charge succeeded")
        taken = self._records.taken(reference)
        if taken is None or taken.key != key or taken.status == "pending":
            raise _SettledError("ignored", f"the provider knows nothing of a change, the charge is {charge.status}")
        if (charge.status == "succeeded") == (taken.status == "succeeded"):
            raise _SettledError("ignored", f"the books know already that the charge {charge.status}")
        if charge.status == "declined":
            raise _SettledError(
                "refused", f"the provider took {key}, which the books have as declined: correct it by hand"
            )
        late = Contested(key, taken.amount, taken.currency, "lost", failed=True, reason=taken.reason)
        return self._chargeback(event, taken.charge, late, self._funded(charge))

    def _dispute(self, event: ReceivedEvent, reference: str) -> Follows:
        contested = self._records.contested(reference)
        if contested is None:
            raise _SettledError("ignored", "the provider does not know this dispute")
        if contested.key is None:
            raise _SettledError("ignored", "it is about no payment of ours")
        charge = self._known_charge(contested.key)
        if charge.status == "pending":
            raise _SettledError(
                "wait", "the books do not know yet that the charge succeeded", ids.charge_workflow(charge.id)
            )
        if charge.status == "declined":
            raise _SettledError("refused", f"charge {charge.id}, which the books have as declined, is contested")
        return self._chargeback(event, reference, contested, self._funded(charge))

    def _chargeback(self, event: ReceivedEvent, reference: str, contested: Contested, escrow: Escrow) -> Follows:
        """Bring the escrow's chargeback where the bank is: opened if it is not, closed if the bank has decided."""
        known = next((one for one in escrow.chargebacks if one.reference == reference), None)
        if known is not None:
            return self._closed(event, known, contested, escrow)
        if contested.status == "won":
            raise _SettledError("ignored", "decided before the books knew of it, with nothing taken")
        if other := escrow.open_chargeback:
            raise _SettledError("wait", f"another chargeback of {escrow.id} is open: {other.reference}")
        if contested.currency != escrow.currency:
            raise _SettledError("refused", f"contested in {contested.currency}, {escrow.id} is in {escrow.currency}")
        left = escrow.funded - escrow.charged_back
        if not left:
            raise _SettledError("refused", f"nothing is left in {escrow.id} that could be charged back")
        # What was charged above the escrow's amount is in the buyer's wallet, out of a chargeback's reach.
        return self._sealed(
            OpenChargeback(
                id=_id(event, reference, "open"),
                escrow=escrow.id,
                actor=SYSTEM,
                kind="failed_charge" if contested.failed else "chargeback",
                reference=reference,
                amount=min(contested.amount, left),
                reason=printable(contested.reason),
            ),
            escrow,
        )

    def _closed(self, event: ReceivedEvent, known: Chargeback, contested: Contested, escrow: Escrow) -> Follows:
        if known.status != ChargebackStatus.OPEN:
            if contested.status in {"open", str(known.status)}:
                raise _SettledError("applied", None)
            raise _SettledError("refused", f"closed as {known.status} in the books, {contested.status} with the bank")
        if contested.status == "open":
            raise _SettledError("applied", None)
        return self._sealed(
            CloseChargeback(
                id=_id(event, known.reference, contested.status),
                escrow=escrow.id,
                actor=SYSTEM,
                chargeback=known.id,
                outcome=contested.status,
            ),
            escrow,
        )

    def _transfer(self, event: ReceivedEvent, key: str, reference: str) -> Follows:
        identifier, _, generation = key.partition(":")
        if not ids.is_id("pay", identifier) or not generation.isdigit():
            raise _SettledError("ignored", "it is about no payout of ours")
        escrow_id = self._events.escrow_of_payout(identifier)
        escrow = reads.escrow(self._events.engine, escrow_id) if escrow_id else None
        payout = escrow.payout(identifier) if escrow else None
        if escrow is None or payout is None or int(generation) > payout.generation:
            raise _SettledError("unknown", "the books do not know this payout yet")
        if int(generation) < payout.generation:
            raise _SettledError("ignored", f"about attempt {generation} of the payout, which is at {payout.generation}")
        if payout.status == PayoutStatus.RETURNED:
            raise _SettledError("applied", None)
        waiting = payout.status in {PayoutStatus.DUE, PayoutStatus.IN_TRANSIT, PayoutStatus.UNKNOWN}
        asking = ids.payout_workflow(identifier, payout.generation)
        if event.type in {"transfer.created", "transfer.paid"}:
            if waiting:
                raise _SettledError("applied", "the payout's workflow was told to ask", asking)
            raise _SettledError("ignored", f"the books know already that it was sent: the payout is {payout.status}")
        sent = self._records.sent(reference)
        if sent is None or sent.key != key or not sent.returned:
            raise _SettledError("ignored", "the provider knows of nothing that came back")
        if waiting:
            raise _SettledError(
                "wait", f"the payout is {payout.status} in the books: that it was sent comes first", asking
            )
        if payout.status != PayoutStatus.PAID:
            raise _SettledError(
                "ignored", f"what came back had not been paid in the books: the payout is {payout.status}"
            )
        if sent.returned < sent.amount:
            back = (
                f"{readable(sent.returned, sent.currency)} of {readable(sent.amount, sent.currency)} of {key} came back"
            )
            why = f"{back}: a person books it, with `holdfast reconcile correct`"
            raise _SettledError("refused", why)
        return RecordPayout(
            id=f"~{_id(event, reference, 'returned')}",
            escrow=escrow.id,
            actor=SYSTEM,
            payout=identifier,
            generation=payout.generation,
            outcome="returned",
            reference=reference,
            reason="the transfer was reversed",
        )

    def _known_charge(self, key: str) -> KnownCharge:
        charge = self._events.charge(key)
        if charge is None:
            raise _SettledError(
                "unknown" if ids.is_id("chg", key) else "ignored", f"the books do not know the charge {key}"
            )
        return charge

    def _funded(self, charge: KnownCharge) -> Escrow:
        identifier = self._events.funded_by(charge)
        escrow = reads.escrow(self._events.engine, identifier) if identifier else None
        if escrow is not None:
            return escrow
        if self._now() - charge.since < _FUNDS_WITHIN:
            raise _SettledError("wait", f"charge {charge.id} has not funded an escrow yet")
        raise _SettledError(
            "refused", f"charge {charge.id} topped up a wallet and funded no escrow: correct it by hand"
        )

    def _sealed(self, command: Sealed, escrow: Escrow) -> Sealed:
        return self._seals.seal(command, escrow.tenant) if self._seals else command


def _id(event: ReceivedEvent, reference: str, what: str) -> str:
    """Of the thing and never of the event: two events about one thing make one command.

    A refusal is stored under its command's id, so what is tried again after one needs another.
    """
    again = f":{event.attempts}" if event.attempts else ""
    return f"{event.provider}:{reference}:{what}{again}"


def _briefly(work: Callable[[], Answer]) -> Answer:
    """Say in one line why PostgreSQL could not: its own details would quote rows."""
    try:
        return work()
    except (psycopg.Error, SQLAlchemyError) as error:
        line = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300]
        raise ApplicationError(line, type=type(error).__name__) from None
