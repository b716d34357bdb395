"""A town: one tenant whose commands are fired at the books at the same instant, and judged by a model afterwards.

The oracle is linearizability. Of one escrow the audit's chain says in which order its commands were decided, so the
model plays them in that order and has to come to the same answer for each. Between escrows any order may be true: one
has to be found in which every answer, and in the end every balance and counter, is what the model says.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from datetime import datetime
from functools import partial
from random import Random
from threading import Barrier
from typing import Any, Final, TypeVar

from hypothesis.stateful import rule
from sqlalchemy import Engine, text

from ledger.books import input_hash
from models.commands import Command, Create, ReachDeadline
from models.outcome import Outcome
from tests.database import books_check as check
from tests.database.books_commands import Commands
from tests.database.books_machine import BooksMachine, Tally
from tests.database.books_model import Part, Person, World

Result = TypeVar("Result")
Decided = tuple[Command, Outcome]
Queues = tuple[tuple[Decided, ...], ...]

RIVALS: Final = 16
REUSED: Final = "idempotency_key_reused"
# How many orders are tried before none is believed to be right.
_ORDERS: Final = 3000
_ROWS: Final = """
SELECT escrow_id, command_id, outcome, received_at FROM audit
WHERE tenant_id = :tenant AND command_id = ANY(:ids) ORDER BY escrow_id, position
"""


class Crowd:
    """Threads that all begin at the same instant, each with a connection of its own."""

    def __init__(self, rivals: int = RIVALS) -> None:
        self._pool = ThreadPoolExecutor(rivals, thread_name_prefix="rival")

    def at_once(self, works: Sequence[Callable[[], Result]]) -> list[Result]:
        """Do every work on a thread of its own; answers in the order given. Raises what any of them raised."""
        start = Barrier(len(works))

        def run(work: Callable[[], Result]) -> Result:
            start.wait(60)
            return work()

        return [one.result() for one in [self._pool.submit(run, work) for work in works]]

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown()


def code_of(outcome: Outcome) -> str:
    """``accepted``, or the code of the refusal."""
    return outcome.refusal.code if outcome.refusal else "accepted"


class Town(BooksMachine):
    """Books and model of one tenant; ``races`` counts the batches that were fired."""

    def __init__(self, engine: Engine, crowd: Crowd, dice: Random, tally: Tally) -> None:
        type(self).engine, type(self).tally = engine, tally
        super().__init__()
        self.dice, self.crowd, self.races, self.before_race = dice, crowd, 0, self.world
        self.put_fees(dice.randrange(10), dice.randrange(8), dice.randrange(4), dice.randrange(16))
        self.put_terms(dice.randrange(2), 0, dice.choice((0, 0, 2)), dice.choice((0, 3, 6)))
        # Longer than any review, so that the end of a review never ends a dispute as well.
        self.put_dispute_policy(dice.randrange(3), 9)
        self.put_rate(5, 1)

    @rule()
    def stand_still(self) -> None:
        """A state machine wants a rule; a town is not played by hypothesis."""

    def newcomer(self) -> str:
        """Somebody who has nothing yet, neither in a wallet nor payable."""
        name = f"new{len(self.world.people)}"
        self.world.people[name] = Person()
        self.put_destination(name)
        return name

    def _compare(self, escrow: str | None, *, still: bool) -> None:
        """Between races the model only follows: everything is compared after each race."""
        self.world.step += 1

    def race(self, *commands: Command) -> list[Outcome]:
        """Fire all commands at the same instant, and judge every answer and all the money."""
        self.before_race = self.world
        outcomes = self.crowd.at_once([partial(self.books.apply, command) for command in commands])
        self.races += 1
        decided = dict(map(self._one_of_each_id, _by_id(commands, outcomes).values()))
        self._explain(self._queues(decided))
        for _, outcome in decided.values():
            if outcome.escrow and outcome.escrow.version >= self.seen[outcome.escrow.id].version:
                self.seen[outcome.escrow.id] = outcome.escrow
        for command, outcome in zip(commands, outcomes, strict=True):
            self.tally.steps += 1
            self.tally.answers[command.name, code_of(outcome)] += 1
        return outcomes

    @staticmethod
    def _one_of_each_id(rivals: list[Decided]) -> tuple[str, Decided]:
        """Of those that share an id one body counts: all that have it get one answer, every other is told so."""
        counted = [one for one in rivals if code_of(one[1]) != REUSED]
        assert counted, "an id was used up by nobody"
        assert len({input_hash(command) for command, _ in counted}) == 1, "two bodies were taken under one id"
        command = counted[0][0]
        answers = {outcome.model_dump_json() for _, outcome in counted}
        # A deadline that was superseded does nothing, as often as it is told, and answers how things stand.
        assert len(answers) == 1 or isinstance(command, ReachDeadline), "one command had two answers"
        digest = input_hash(command)
        assert all(input_hash(other) != digest for other, outcome in rivals if code_of(outcome) == REUSED)
        return command.id, counted[0]

    def _queues(self, decided: dict[str, Decided]) -> list[list[tuple[datetime, Decided]]]:
        """Of each escrow its commands, in the order in which they were decided."""
        with self.engine.connect() as connection:
            found = connection.execute(text(_ROWS), {"tenant": self.tenant, "ids": list(decided)}).all()
        queues: dict[str, list[tuple[datetime, Decided]]] = defaultdict(list)
        for escrow, command, outcome, received in found:
            assert outcome == code_of(decided[command][1]), f"the audit has {outcome} of {decided[command]}"
            queues[escrow].append((received, decided[command]))
        unheard = set(decided) - {command for _, command, _, _ in found}
        assert len(found) + len(unheard) == len(decided), "a command was decided twice"
        for command, outcome in (decided[one] for one in unheard):
            # Its deadline had been superseded: the only command that may leave no trace.
            assert isinstance(command, ReachDeadline), f"{command.name} is not in the audit: {outcome}"
            assert outcome.refusal is None
        return list(queues.values())

    def _explain(self, queues: list[list[tuple[datetime, Decided]]]) -> None:
        """Find an order in which the model comes to the same: that of the moments of receipt, or another."""
        books = check.everything(self.engine, self.tenant)
        start: Queues = tuple(tuple(decided for _, decided in queue) for queue in queues)
        moments = {id(decided): moment for queue in queues for moment, decided in queue}
        world = deepcopy(self.world)
        order = self._merged(start, moments)
        wrong = next(filter(None, (self._differs(world, one) for one in order)), None)
        if wrong is None and self._whole(books, world):
            return
        told = [f"{command.name} {code_of(outcome)}" for command, outcome in order]
        assert len(start) > 1, f"{told}: {wrong or 'other money'}"
        assert self._search(books, start, moments), f"no order explains {told}; that of receipt: {wrong}"

    @staticmethod
    def _merged(left: Queues, moments: dict[int, datetime]) -> list[Decided]:
        """All of them by the moment of receipt, as far as each escrow's own order allows it."""
        merged = []
        while any(left):
            first = min((queue for queue in left if queue), key=lambda queue: moments[id(queue[0])])
            merged.append(first[0])
            left = tuple(one[1:] if one is first else one for one in left)
        return merged

    def _search(self, books: dict[str, Any], start: Queues, moments: dict[int, datetime]) -> bool:
        """Try one order after the other, the earliest first."""
        open_ends: list[tuple[World, Queues]] = [(self.before_race, start)]
        for _ in range(_ORDERS):
            if not open_ends:
                return False
            world, left = open_ends.pop()
            if not any(left):
                if self._whole(books, world):
                    return True
                continue
            heads = sorted((queue for queue in left if queue), key=lambda queue: moments[id(queue[0])], reverse=True)
            for queue in heads:  # the earliest is pushed last, and so is taken first
                after = deepcopy(world)
                if self._differs(after, queue[0]) is None:
                    open_ends.append((after, tuple(one[1:] if one is queue else one for one in left)))
        return False

    def _whole(self, books: dict[str, Any], world: World) -> bool:
        """Whether all the money is where the model has it; then that is the world from now on."""
        try:
            check.compare(books, world)
        except AssertionError as error:
            self.tally.log.append(str(error))
            return False
        self._adopt(world)
        return True

    def _differs(self, world: World, decided: Decided) -> str | None:
        """Play one command on a world; what the model says otherwise, or None where it agrees."""
        command, outcome = decided
        self._adopt(world)
        reasons = self._played(command)
        code = code_of(outcome)
        if code not in (reasons or {"accepted"}):
            return f"{command.name}: books {code}, model {reasons or 'accepted'}"
        world.step += 1
        try:
            if outcome.escrow:
                self._learn(outcome.escrow)
        except AssertionError as error:  # what it made is not what the books made: not in this order
            return f"{command.name}: {error}"
        return None

    def _played(self, command: Command) -> set[str]:
        world = self.world
        if isinstance(command, Create):
            return self.model.create(command, [Part("", one.amount) for one in command.milestones])
        if not isinstance(command, ReachDeadline):
            return self.model.play(command)
        now = world.hours
        world.hours += world.terms["window"]
        try:
            return self.model.play(command)
        finally:
            world.hours = now

    def _adopt(self, world: World) -> None:
        self.world, self.model = world, Commands(world)
        self.model.order = self.order

    def end(self) -> None:
        """Stored balances are the sums of their entries, the trial balance is even and the audit's chain is whole."""
        check.trial_balance_is_even(self.engine, self.tenant)
        self.market.audit()


def _by_id(commands: Sequence[Command], outcomes: Sequence[Outcome]) -> dict[str, list[Decided]]:
    shared: dict[str, list[Any]] = defaultdict(list)
    for pair in zip(commands, outcomes, strict=True):
        shared[pair[0].id].append(pair)
    return shared
