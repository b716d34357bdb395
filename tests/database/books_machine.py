"""Random stories through the real books on real PostgreSQL, each step predicted by the model and compared with it.

Arguments are small integers, so that shrinking is cheap and a falsifying story can be typed in again.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar, Final

from hypothesis.stateful import RuleBasedStateMachine
from sqlalchemy import Engine

from ledger import rates, tenants
from models import commands, deadlines
from models.charges import ChargeOrder, ChargeResult, charge_of
from models.commands import Actor, Command, SystemCommand
from models.escrow import Escrow
from models.exchange import Rate
from models.outcome import Outcome
from models.policies import CompliancePolicy, DisputePolicy, SpendPolicy, VerifiedAbove
from tests.builders import new_id
from tests.database import books_check as check
from tests.database.books_commands import WHO, Commands
from tests.database.books_model import ENDED, GATEWAY, Alarm, Claim, Deal, Part, Person, Quarrel, World
from tests.database.books_policies import fee_policy, release_policy, terms
from tests.market import Market

BUYERS: Final = ("ann", "ben", "cat")
SELLERS: Final = ("dan", "cat", "ben")
PEOPLE: Final = ("ann", "ben", "cat", "dan")
HOURS: Final = (1, 1, 6, 24, 25, 49, 73, 73, 340, 800)
# A due date is a whole hour's fraction away; a story that starts this close to a full hour has none.
_TOO_CLOSE_MINUTES: Final = 4


@dataclass
class Tally:
    """What was played: steps in all, stories, and each kind of command with what became of it."""

    steps: int = 0
    stories: int = 0
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """One line: steps, and each kind of command with how often it was accepted and refused."""
        kinds = []
        for name in sorted({name for name, _ in self.answers}):
            accepted, every = (
                self.answers[name, "accepted"],
                sum(n for one, n in self.answers.items() if one[0] == name),
            )
            kinds.append(f"{name} {accepted}/{every - accepted}")
        return f"{self.steps} steps in {self.stories} stories; accepted/refused: {', '.join(kinds)}"

    def story(self) -> str:
        """The commands of the latest story, one a line."""
        return "\n".join(self.log)

    def table(self) -> str:
        """One line per kind of command: accepted, refused, and why."""
        lines = [f"{self.steps} steps in {self.stories} stories"]
        for name in sorted({name for name, _ in self.answers}):
            codes = {code: count for (one, code), count in sorted(self.answers.items()) if one == name}
            accepted = codes.pop("accepted", 0)
            why = ", ".join(f"{code} {count}" for code, count in codes.items())
            lines.append(f"  {name:<20} accepted {accepted:>5}  refused {sum(codes.values()):>5}  {why}")
        return "\n".join(lines)


class BooksMachine(RuleBasedStateMachine):
    """A tenant of its own, and what is played on it. The rules are in ``test_stateful_books``."""

    engine: ClassVar[Engine]
    tally: ClassVar[Tally]

    def __init__(self) -> None:
        super().__init__()
        self.market = Market(self.engine, fees=None, purse=0)
        self.tenant, self.books, self.began = self.market.tenant, self.market.books, datetime.now(UTC)
        self.world = World(verified_above={"funding": None, "payout": None})
        self.world.people = {one: Person() for one in PEOPLE}
        self.model = Commands(self.world)
        self.model.order = self.order
        self.seen: dict[str, Escrow] = {}
        self.sent: list[tuple[Command, Outcome]] = []
        self.idle = False
        self.agreeing = True
        self.tally.log.clear()
        self.put_fees(0, 0, 0, 1)
        self.put_terms(0, 0, 0, 0)
        self.put_dispute_policy(0, 1)
        for one in PEOPLE:
            self.put_destination(one)
            self.charge(one, 400, "EUR")
        self.before = check.everything(self.engine, self.tenant)

    # What the platform sets, in the books and in the model alike.

    def put_fees(self, rate: int, shape: int, payer: int, more: int) -> None:
        """A new version of the fee policy."""
        policy = fee_policy(rate, shape, payer, more)
        version = tenants.put_policy(self.engine, self.tenant, "fees", tenants.parse_policy("fees", policy))
        if version > len(self.world.fees):
            self.world.fees.append(policy)

    def put_terms(self, mode: int, trigger: int, minimum: int, more: int) -> None:
        """A new release policy, for escrows that are created from now on."""
        self.world.terms = terms(mode, trigger, minimum, more)
        tenants.put_policy(self.engine, self.tenant, "release", release_policy(self.world.terms))

    def put_dispute_policy(self, default: int, days: int) -> None:
        """A new dispute policy."""
        outcome = ("mediation", "buyer_favor", "seller_favor")[default % 3]
        self.world.dispute = {"default": outcome, "window": 24 * (1 + days)}
        document = DisputePolicy(response_window=timedelta(days=1 + days), default_outcome=outcome)  # type: ignore[arg-type]
        tenants.put_policy(self.engine, self.tenant, "dispute", document)

    def put_limits(self, reserve: int, gate: int, funding: int, payout: int) -> None:
        """New spend and compliance policies."""
        world = self.world
        world.reserve, world.wallet_gate = ({"EUR": 100 * reserve} if reserve else {}), gate == 9
        world.verified_above = {"funding": 300 if funding > 6 else None, "payout": 90 if payout > 5 else None}
        spend = SpendPolicy(reserve=world.reserve, wallet_gate=world.wallet_gate)
        limits = CompliancePolicy(verified_above=VerifiedAbove(**world.verified_above))
        tenants.put_policy(self.engine, self.tenant, "spend", spend)
        tenants.put_policy(self.engine, self.tenant, "compliance", limits)

    def put_destination(self, party: str) -> None:
        """An account to be paid to; it is good even if money came back from it once."""
        person = self.world.people[party]
        person.destination, person.invalid = f"acct_{party}{self.world.step}", None
        tenants.put_party(self.engine, self.tenant, party, payout_destination=person.destination)

    def put_party(self, party: str, what: int) -> None:
        """A party is blocked, let go, verified, no longer verified, or names another account."""
        person = self.world.people[party]
        if what < 5:
            person.blocked = what < 2
            tenants.block_party(self.engine, self.tenant, party, "looked into" if person.blocked else None)
        elif what < 8:
            person.kyc = ("verified", "expired", "verified")[what - 5]
            tenants.put_party(self.engine, self.tenant, party, kyc_status=person.kyc)
        else:
            self.put_destination(party)

    def put_rate(self, cents: int, age: int) -> None:
        """A rate of an earlier day; the newest day counts, and of one day the last word."""
        known = self.world.rates.get("JPY")
        if known is None or age <= known[1]:
            self.world.rates["JPY"] = Fraction(cents, 1000), age
        day = self.began.date() - timedelta(days=age)
        rate = Rate(base="JPY", quote="EUR", rate=Decimal(cents) / 1000, as_of=day, source=f"test {self.world.step}")
        rates.put_rate(self.engine, self.tenant, rate)

    def charge(self, party: str, units: int, currency: str, order: str | None = None, works: bool = True) -> None:
        """Money comes in by a card, or does not."""
        new = self.market.charge(units, party, currency)
        self.books.begin_charge(ChargeOrder(**(new.model_dump() | ({"id": order} if order else {}))))
        result = ChargeResult(id=order or new.id, status="succeeded" if works else "declined", reference="pi_1")
        self.books.settle_charge(result, GATEWAY)
        if works:
            self.world.post(currency, ("gateway_cash", GATEWAY, units), ("wallet", party, units))

    def fill(self, deal: Deal) -> None:
        """A wallet that is too short for a deal gets what it needs."""
        missing = deal.amount + self.model.to_add(deal) - self.world.of("wallet", deal.buyer, deal.currency)
        if missing > 0:
            self.charge(deal.buyer, missing, deal.currency)
            self.before = check.everything(self.engine, self.tenant)

    # Choosing and asking.

    def deal(self, which: int, fits: Callable[[Deal], object] = lambda _deal: True) -> Deal | None:
        """A deal that fits, if there is one; from 8 on any deal, so that refusals are tried as well."""
        every = list(self.world.deals.values())
        pool = every if which > 7 else [one for one in every if fits(one)]
        return pool[which % len(pool)] if pool else None

    def ask(self, kind: type[Command], deal: Deal, how: int = 0, /, **fields: Any) -> Command:
        """A command by whoever may send it; a ``how`` above 9 makes it somebody else's, or based on some version."""
        name = str(kind.model_fields["name"].default)
        role = next(one for one in ("buyer", "seller", "operator", "system") if one in WHO[name])
        if how == 11 and "operator" in WHO[name]:
            role = "operator"
        elif how == 12:
            role = "seller" if role == "buyer" else "buyer"
        elif name == "dispute" and how % 2:
            role = "seller"
        party = {"buyer": deal.buyer, "seller": deal.seller, "operator": "olga"}.get(role)
        party = "ann" if how == 13 and role in {"seller", "operator"} else "dan" if how == 13 else party
        version = {14: deal.version, 15: deal.version + 1}.get(how)
        actor = Actor(role=role, party=None if role == "system" else party)
        number = new_id("cmd")
        identifier = f"~{number}" if issubclass(kind, SystemCommand) else number
        return kind(id=identifier, escrow=deal.id, actor=actor, expected_version=version, **fields)

    def order(self, alarm: Alarm) -> str:
        """Which of two deadlines of one instant the books take first is theirs to say."""
        for escrow in self.seen.values():
            for one in escrow.deadlines:
                if (one.kind, one.milestone or one.dispute or one.payout) == (alarm.kind, alarm.about.id):
                    return one.id
        return ""

    # Playing and comparing.

    def play(self, command: Command) -> Outcome:
        """One step: predict, apply, compare everything."""
        calm, self.agreeing = not self._overdue(command.escrow), False
        reasons = self.model.play(command)
        outcome = self.books.apply(command)
        code = outcome.refusal.code if outcome.refusal else "accepted"
        self._note(command, code)
        assert code in (reasons or {"accepted"}), f"{command.name}: books {code}, model {reasons or 'accepted'}"
        if outcome.escrow:
            self._learn(outcome.escrow)
        if not isinstance(command, commands.ReachDeadline):
            self.sent.append((command, outcome))
        self._compare(command.escrow, still=bool(reasons) and calm)
        return outcome

    def agree(self, command: commands.Create, due: tuple[Fraction | None, ...]) -> None:
        """The same for a create, whose milestones get their ids from the books."""
        parts = [Part("", one.amount, day) for one, day in zip(command.milestones, due, strict=True)]
        reasons = self.model.create(command, parts)
        outcome = self.books.apply(command)
        code = outcome.refusal.code if outcome.refusal else "accepted"
        self._note(command, code)
        assert code in (reasons or {"accepted"}), f"create: books {code}, model {reasons or 'accepted'}"
        if outcome.escrow and not outcome.refusal:
            for part, real in zip(parts, outcome.escrow.milestones, strict=True):
                part.id = real.id
            self._learn(outcome.escrow)
        self.sent.append((command, outcome))
        self._compare(command.escrow, still=bool(reasons))

    def again(self, which: int, other: bool) -> None:
        """An earlier id again: the same body finds the stored outcome, another is refused; no row is written."""
        command, first = self.sent[which % len(self.sent)]
        if other:
            command = command.model_copy(update={"expected_version": 4711})
        outcome = self.books.apply(command)
        code = outcome.refusal.code if outcome.refusal else "accepted"
        self._note(command, f"{code} (repeated)", "reused" if other else "repeated")
        assert code == "idempotency_key_reused" if other else outcome == first, "a repeat was not answered as before"
        after = check.everything(self.engine, self.tenant)
        assert after == self.before, "a repeat changed something"

    def set_up(self, what: str) -> None:
        """After a change of the circumstances: nothing but what the model knows has moved."""
        self.tally.steps += 1
        self.tally.answers[what, "accepted"] += 1
        self._compare(None, still=False)

    def _overdue(self, escrow: str) -> bool:
        deal = self.world.deals.get(escrow)
        return deal is not None and any(alarm.at <= self.world.now for alarm in deal.alarms)

    def _note(self, command: Command, code: str, kind: str = "") -> None:
        self.tally.steps += 1
        self.tally.answers[kind or command.name, code.split(" ", maxsplit=1)[0]] += 1
        details = command.model_dump(mode="json", exclude_defaults=True, exclude={"name", "id", "escrow"})
        at = f"{self.world.step:>3} +{self.world.hours}h"
        self.tally.log.append(f"{at} {command.escrow[-6:]} {command.name} {details} -> {code}")

    def _learn(self, escrow: Escrow) -> None:
        """Take over the ids that the books gave to what this step made."""
        deal = self.world.deals[escrow.id]
        self.seen[escrow.id] = escrow
        made = ((deal.parts, escrow.milestones), (deal.claims, escrow.payouts), (deal.quarrels, escrow.disputes))
        for mine, theirs in made:
            known = {one.id for one in mine}
            fresh = [one.id for one in theirs if one.id not in known]
            nameless: list[Part | Claim | Quarrel] = [one for one in mine if not one.id]
            assert len(fresh) == len(nameless), f"books made {len(fresh)} parts of it, model {len(nameless)}"
            for one, identifier in zip(nameless, fresh, strict=True):
                one.id = identifier

    def _compare(self, escrow: str | None, *, still: bool) -> None:
        self.agreeing = False  # until all of it has been compared
        after = check.everything(self.engine, self.tenant)
        check.compare(after, self.world)
        if still:
            assert after["rows"] == self.before["rows"], "a refusal wrote a row about money"
        self.before = after
        if deal := self.world.deals.get(escrow or ""):
            check.compare_wallets(self.engine, self.tenant, self.world, deal.buyer, deal.seller)
        if self.world.step % 8 == 0:
            check.trial_balance_is_even(self.engine, self.tenant)
        self.world.step += 1
        self.agreeing = True

    def teardown(self) -> None:
        """The stored balances are the sums of their entries, and every wallet is right."""
        if not self.agreeing:
            return  # what went wrong is told already
        self.market.audit()
        check.compare_wallets(self.engine, self.tenant, self.world, *PEOPLE)
        assert datetime.now(UTC) - self.began < timedelta(minutes=_TOO_CLOSE_MINUTES)

    def next_deadline(self, deal: Deal, late: int) -> Command:
        """The system's command for a deadline: the next one, or for a ``late`` of 9 one that was superseded."""
        escrow = self.seen[deal.id]
        if late == 9 or escrow.next_deadline is None:
            return self.ask(commands.ReachDeadline, deal, deadline=new_id("dln"), generation=1)
        return deadlines.reach(escrow, escrow.next_deadline)

    def pay_by_card(self, deal: Deal, command: Command, more: int, works: bool) -> None:
        """Charge what the books say is due, once it is what the model says."""
        due = self.books.amount_due(command)
        if due.amount is None:
            self.world.charged = 0
            return
        assert due.amount == deal.amount + self.model.to_add(deal), "the amount due is not what is to be funded"
        units = max(1, due.amount + more)
        self.charge(deal.buyer, units, deal.currency, charge_of(command), works)
        self.world.charged = units if works else 0
        self.before = check.everything(self.engine, self.tenant)

    def due_dates(self, days: int) -> timedelta | None:
        """Days until a due date, unless the story began too close to a full hour to count in hours."""
        if not _TOO_CLOSE_MINUTES <= self.began.minute < 60 - _TOO_CLOSE_MINUTES or days > 5:
            return None
        return timedelta(days=days)

    def midnight(self, wait: timedelta) -> Fraction:
        """How many hours it is from the story's beginning to the midnight that begins a due date."""
        day = (self.began + wait).date()
        away = datetime(day.year, day.month, day.day, tzinfo=UTC) - self.began
        return Fraction(away // timedelta(microseconds=1), 3_600_000_000)

    @property
    def over(self) -> bool:
        """Whether every deal has ended."""
        return all(one.state in ENDED for one in self.world.deals.values())
