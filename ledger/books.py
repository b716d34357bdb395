"""The books: the only way money moves. One command, one PostgreSQL transaction. Source: architecture.md.

Two round trips in the steady state: lock and load, then write and commit. The escrow's row lock makes rivals queue,
the command's key makes repeats harmless, and PostgreSQL refuses whatever a bug here would get wrong.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import psycopg
from psycopg import errors
from sqlalchemy import Engine

from ledger import charges
from ledger.engine import SET_TENANT, tenant_of
from ledger.load import LOCK_VISIBLE_ESCROW, Connection, Loaded, load, read_escrow
from ledger.seals import Seals
from ledger.write import Batch
from models import deadlines
from models.charges import AmountDue, Charge, ChargeOrder, ChargeResult, charge_of, charge_order
from models.commands import Command, Create, Fund, ReachDeadline
from models.decide import decide
from models.decision import Case, Decision
from models.errors import ErrorCode, Refusal, RefusedError
from models.escrow import Escrow
from models.facts import Carried
from models.money import MAX_AMOUNT
from models.outcome import Outcome
from models.policies import SpendPolicy
from models.rules.creation import blank

Result = TypeVar("Result")

# Serialization failure, deadlock, the multixact error that PostgreSQL 18 throws under contention, and a key that a
# rival wrote first, which the next attempt finds as a stored outcome.
_RETRIED: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.InternalError_, errors.UniqueViolation)
_ATTEMPTS: Final = 5
# Older than this a time of receipt is not believed.
_LONGEST_BACKLOG: Final = timedelta(days=30)


class Books:
    """Applies commands. ``default_spend`` is the deployment's spend policy for tenants without one of their own.

    With ``seals`` only sealed commands and charges are taken, and what is handed out to be sent on is sealed.
    """

    def __init__(self, engine: Engine, default_spend: SpendPolicy | None = None, seals: Seals | None = None) -> None:
        self._engine = engine
        self._seals = seals
        self._default_spend = default_spend or SpendPolicy()

    def apply(self, command: Command) -> Outcome:
        """Decide a command and write everything that follows, once.

        The same id again answers the stored outcome; with another body, ``idempotency_key_reused``. One that is not
        sealed is refused and put on record, and its id stays free. Refusals are answers; what is raised
        (``psycopg.Error``) is infrastructure: nothing was written and a retry is safe.
        """
        return self._transact(lambda connection: self._apply(connection, command))

    def amount_due(self, command: Command) -> AmountDue:
        """Say what a funding from the gateway has to charge, or how it would be refused if its charge succeeded.

        Asked before a card is charged. A command that was decided before is answered with a refusal as well: whatever
        became of it, there is nothing to charge. Writes nothing.
        """
        return self._transact(lambda connection: self._foresee(connection, command))

    def record_refusal(self, command: Command, refusal: Refusal) -> Outcome:
        """Record that a command was refused before it reached this transaction, so that the audit has it too.

        The role of the HTTP API may do this, for the tenant that its transaction names.
        """
        return self._transact(lambda connection: self._record_refusal(connection, command, refusal))

    def begin_charge(self, order: ChargeOrder) -> Charge:
        """Write a charge down before the gateway is asked.

        Raises ``ChargeReusedError`` for another body, and ``RefusedError`` for an order that is not sealed.
        """
        if self._seals and (refusal := self._seals.refuse_charge(order)):
            raise RefusedError.of(refusal)
        return self._transact(lambda connection: charges.begin(connection, order))

    def settle_charge(self, result: ChargeResult, gateway: str) -> Charge:
        """Book the definite outcome of a charge, once: money that arrived is credited to the wallet."""
        return self._transact(lambda connection: charges.settle(connection, result, gateway))

    def read(self, escrow: str) -> Escrow | None:
        """Read an escrow as it stands."""
        return self._transact(lambda connection: read_escrow(connection, escrow))

    def _transact(self, work: Callable[[Connection], Result]) -> Result:
        """Run the work on a pooled connection; conflicts that a second look resolves are retried right here."""
        for attempt in range(1, _ATTEMPTS + 1):
            pooled = self._engine.raw_connection()
            connection: Connection = pooled.driver_connection  # type: ignore[assignment]
            try:
                if tenant := tenant_of(self._engine):
                    connection.execute(SET_TENANT, {"tenant": tenant})
                return work(connection)
            except _RETRIED:
                if attempt == _ATTEMPTS:
                    raise
                pooled.rollback()
            except psycopg.OperationalError:
                self._engine.dispose()  # the server went away: the other pooled connections are dead as well
                raise
            finally:
                pooled.close()
        raise AssertionError("unreachable")

    def _foresee(self, connection: Connection, command: Command) -> AmountDue:
        loaded = load(connection, command, None, self._default_spend)
        if refusal := self._unsealed(command, loaded):
            return AmountDue(refusal=refusal)
        if loaded.stored:
            decided = _repeated(command, loaded.stored, input_hash(command)).refusal
            accepted = Refusal(code=ErrorCode.ALREADY_EXISTS.code, message="this command was accepted before")
            return AmountDue(refusal=decided or accepted)
        if loaded.escrow is None:
            return AmountDue(refusal=_missing(command, loaded))
        escrow = loaded.escrow
        paid = replace(loaded.funds.buyer, wallet=MAX_AMOUNT)
        charged = replace(loaded.funds, buyer=paid, charge="succeeded", charged=MAX_AMOUNT)
        answer = decide(escrow, command, loaded.policies, escrow.updated_at, charged)
        if isinstance(answer, Refusal):
            return AmountDue(refusal=answer)
        amount = answer.escrow.funded
        if not isinstance(command, Fund):
            return AmountDue(amount=amount)
        order = charge_order(escrow, command, amount)
        return AmountDue(amount=amount, order=self._seals.seal_charge(order) if self._seals else order)

    def _apply(self, connection: Connection, command: Command) -> Outcome:
        charge = charge_of(command) if isinstance(command, Fund) and command.source == "gateway" else None
        loaded = load(connection, command, charge, self._default_spend)
        if refusal := self._unsealed(command, loaded):
            return _put_on_record(connection, command, loaded, refusal)
        return self._with_seals(_decided(connection, command, loaded, None))

    def _record_refusal(self, connection: Connection, command: Command, refusal: Refusal) -> Outcome:
        loaded = load(connection, command, None, self._default_spend, LOCK_VISIBLE_ESCROW)
        return self._with_seals(_decided(connection, command, loaded, refusal))

    def _unsealed(self, command: Command, loaded: Loaded) -> Refusal | None:
        """Why the command is not believed to be from one of our programs; without a place for a record, None."""
        if self._seals is None or _missing(command, loaded):
            return None
        return self._seals.refuse(command, _tenant_of(command, loaded))

    def _with_seals(self, outcome: Outcome) -> Outcome:
        """The outcome with a seal for everything that is carried along: workflows send it on and hold no key."""
        if self._seals is None or outcome.escrow is None or not outcome.carried_along:
            return outcome
        tenant = outcome.escrow.tenant
        pairs = zip(outcome.carried_along, outcome.requests(), strict=True)
        sealed = tuple(one.model_copy(update={"seal": self._seals.of(command, tenant)}) for one, command in pairs)
        return outcome.model_copy(update={"carried_along": sealed})


def input_hash(command: Command) -> str:
    """A fingerprint of what was asked, without when and from where: a retry may carry another time, on another road.

    Without defaults too, so that a later version, which knows more fields, computes the same.
    """
    said = command.model_dump_json(exclude={"received_at", "origin", "seal"}, exclude_defaults=True)
    return hashlib.sha256(f"{command.name} {said}".encode()).hexdigest()


def _repeated(command: Command, stored: tuple[str, Outcome], digest: str) -> Outcome:
    if stored[0] == digest:
        return stored[1]
    message = f"command id {command.id!r} was used for a different command: use a new id for a new command"
    return Outcome(refusal=Refusal(code=ErrorCode.IDEMPOTENCY_KEY_REUSED.code, message=message))


def _decided(connection: Connection, command: Command, loaded: Loaded, refusal: Refusal | None) -> Outcome:
    digest = input_hash(command)
    if loaded.stored:
        return _repeated(command, loaded.stored, digest)
    missing = _missing(command, loaded)
    if missing:
        return Outcome(refusal=missing)
    outcome, batch = _decide_all(command, loaded, refusal, digest)
    batch.write(connection)
    return outcome


def _put_on_record(connection: Connection, command: Command, loaded: Loaded, refusal: Refusal) -> Outcome:
    """Say who tried, and leave everything as it is: no deadline acts, and the command's id is not used up.

    A stranger may try as often as they like, under an id that somebody else will need, so nothing of a record is
    derived from the command alone.
    """
    received = datetime.now(UTC)
    now = received + timedelta(seconds=loaded.clock_offset)
    batch = Batch(_tenant_of(command, loaded), loaded.escrow, received)
    batch.refuse(command, loaded.escrow, refusal, now, attempt=f"~{secrets.token_hex(16)}")
    batch.write(connection)
    return Outcome(escrow=loaded.escrow, refusal=refusal)


def _tenant_of(command: Command, loaded: Loaded) -> str:
    return loaded.escrow.tenant if loaded.escrow else command.tenant  # type: ignore[attr-defined]  # it is a create


def _missing(command: Command, loaded: Loaded) -> Refusal | None:
    """Nothing to record against: without a tenant or an escrow there is no place for an audit row."""
    if isinstance(command, Create):
        if loaded.known_tenant and loaded.escrow and loaded.escrow.tenant != command.tenant:
            return Refusal(code=ErrorCode.NOT_FOUND.code, message=f"there is no escrow {command.escrow}")
        if loaded.known_tenant:
            return None
        return Refusal(code=ErrorCode.NOT_FOUND.code, message=f"there is no tenant {command.tenant}")
    if loaded.escrow is None:
        return Refusal(code=ErrorCode.NOT_FOUND.code, message=f"there is no escrow {command.escrow}")
    return None


def _decide_all(command: Command, loaded: Loaded, refusal: Refusal | None, digest: str) -> tuple[Outcome, Batch]:
    """Deadlines that were due when the command was received take effect first, in order; then the command."""
    recorded = datetime.now(UTC)
    received = max(command.received_at or recorded, recorded - _LONGEST_BACKLOG)
    ahead = timedelta(seconds=loaded.clock_offset)
    asked_at = received + ahead
    loaded = replace(loaded, funds=replace(loaded.funds, asked_at=max(asked_at, recorded + ahead)))
    escrow = loaded.escrow
    batch = Batch(_tenant_of(command, loaded), escrow, received)
    carried: tuple[Carried, ...] = ()
    while (
        refusal is None and escrow and not isinstance(command, Create) and (deadline := deadlines.due(escrow, asked_at))
    ):
        reached = deadlines.reach(escrow, deadline, received)
        decision = _take_effect(batch, escrow, reached, loaded, asked_at)
        escrow, loaded = decision.escrow, replace(loaded, funds=decision.funds)
        carried += decision.carried_along
        batch.finish(reached, input_hash(reached), Outcome(escrow=escrow, carried_along=decision.carried_along))
    if isinstance(command, ReachDeadline):
        # Its own deadline is among those just handled, or it was superseded, or it is early: nothing more to do.
        return Outcome(escrow=escrow, carried_along=carried), batch
    # When it was received decides which deadlines came first; what it sets off counts from now, so that nobody can
    # shorten another's time by a date in the past.
    outcome = _decide_one(batch, command, escrow, loaded, max(asked_at, recorded + ahead), refusal)
    outcome = outcome.model_copy(update={"carried_along": carried + outcome.carried_along})
    batch.finish(command, digest, outcome)
    return outcome, batch


def _take_effect(batch: Batch, escrow: Escrow, reached: ReachDeadline, loaded: Loaded, asked_at: datetime) -> Decision:
    """Let one deadline act at its own moment; one that is refused is put off and waits for a person."""
    deadline = next(deadline for deadline in escrow.deadlines if deadline.id == reached.deadline)
    now = max(deadline.due_at, escrow.updated_at)
    decision = decide(escrow, reached, loaded.policies, now, loaded.funds)
    if isinstance(decision, Refusal):
        batch.refuse(reached, escrow, decision, now)
        case = Case(escrow, reached, loaded.policies, now, loaded.funds)
        decision = deadlines.defer(case, deadline, decision, asked_at)
    batch.accept(reached, escrow, decision)
    return decision


def _decide_one(
    batch: Batch, command: Command, escrow: Escrow | None, loaded: Loaded, at: datetime, refusal: Refusal | None
) -> Outcome:
    now = max(at, escrow.updated_at) if escrow else at
    decision: Decision | Refusal
    if refusal:
        decision = refusal
    elif isinstance(command, Create):
        decision = _create(command, escrow, loaded, now)
    elif escrow:
        decision = decide(escrow, command, loaded.policies, now, loaded.funds)
    if isinstance(decision, Refusal):
        batch.refuse(command, escrow, decision, now)
        return Outcome(escrow=escrow, refusal=decision)
    batch.accept(command, escrow, decision)
    return Outcome(escrow=decision.escrow, carried_along=decision.carried_along)


def _create(command: Create, escrow: Escrow | None, loaded: Loaded, now: datetime) -> Decision | Refusal:
    if escrow is not None:
        return Refusal(code=ErrorCode.ALREADY_EXISTS.code, message=f"escrow {command.escrow} exists already")
    empty = blank(command, now, loaded.policies.release, loaded.clock_offset)
    return decide(empty, command, loaded.policies, now, loaded.funds)
