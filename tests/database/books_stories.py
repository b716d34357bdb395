"""The rules of the stateful test: every command there is, everything around it that changes, and time."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from ledger import tenants
from models import commands
from models.commands import Actor, Command
from models.fields import Evidence
from tests.builders import new_id
from tests.database.books_machine import BUYERS, HOURS, PEOPLE, SELLERS, BooksMachine
from tests.database.books_model import FREED, OPEN, Claim, Deal, Quarrel

digit = st.integers(0, 9)
_EVIDENCE: Final = (Evidence(name="photo.jpg"),)
KINDS: Final[dict[str, type[Command]]] = {
    kind.__name__: kind
    for kind in (
        commands.Amend, commands.AddMilestone, commands.ChangeMilestone, commands.Fund, commands.StartWork,
        commands.SubmitMilestone, commands.WithdrawSubmission,
        commands.ApproveMilestone, commands.RejectMilestone, commands.ReverseMilestone, commands.Complete,
        commands.Cancel, commands.Refund, commands.RaiseDispute, commands.AddEvidence, commands.ReviewDispute,
        commands.CloseDispute, commands.RequestPayout, commands.RetryPayout, commands.CloseChargeback,
        commands.ReachDeadline,
    )
}  # fmt: skip
WHAT: Final = (
    *["forward"] * 12, *KINDS, "ReverseMilestone", "RaiseDispute", "SubmitMilestone", "ReachDeadline", "create",
    *["wait"] * 4, *["repeat"] * 2, *["change"] * 5, *["open_chargeback"] * 2, "resolve", "resolve", "send_payout",
    *["record_payout"] * 3,
)  # fmt: skip


class Stories(BooksMachine):
    """Every command there is, everything around it that changes, and time."""

    @initialize(a=digit, b=digit, c=digit, d=st.integers(0, 19), dice=st.integers(0, 99))
    def agreed(self, a: int, b: int, c: int, d: int, dice: int) -> None:
        """Every story begins with three escrows, among parties that meet in several, under policies of its own."""
        # The first story from any seed is all noughts, which teaches nothing: it is skipped.
        self.idle = dice == 0
        if self.idle:
            return
        self.tally.stories += 1
        self.put_fees(a, b, c, d)
        self.put_rate(4 + a % 6, 1)
        for place, each in enumerate((a, b, c)):
            self.put_terms(each, (a + b + place) % 10, c, d % 10)
            self.create(each, each + 1 if each % 3 != 1 else each, 100 + 37 * each, 1 + each, 3 * place + each % 2, 2)

    @rule(
        what=st.sampled_from(WHAT), which=digit, how=st.integers(0, 15), x=digit, y=st.integers(0, 19),
        amount=st.integers(1, 400),
    )  # fmt: skip
    def step(self, what: str, which: int, how: int, x: int, y: int, amount: int) -> None:
        """One step. One rule and not many, so that every story has steps of all kinds, as often as ``WHAT`` says."""
        if self.idle:
            return
        if kind := KINDS.get(what):
            self._of_kind(kind, which, how, x, amount)
        elif what == "create":
            if len(self.world.deals) < 6:
                self.create(which, x, amount, how, y % 10, y // 2)
        elif what == "wait":
            self.wait(HOURS[x])
        elif what == "repeat":
            self.again(amount, other=bool(x % 2))
        elif what == "change":
            self.change(which % 8, x, how % 10, which, y)
        elif what == "open_chargeback":
            self.open_chargeback(which, how, amount, late=bool(y % 2), again=x)
        elif what == "resolve":
            self.resolve(which, how, y % 5, amount, x)
        elif what == "send_payout":
            self.send_payout(which, x)
        elif what == "record_payout":
            self.record_payout(which, x, ("paid", "failed", "unknown", "returned", "returned")[y % 5])
        else:
            self.forward(which, x)

    def _of_kind(self, kind: type[Command], which: int, how: int, x: int, amount: int) -> None:
        match kind:
            case commands.Amend:
                self.amend(which, how, amount)
            case commands.AddMilestone | commands.ChangeMilestone:
                self.plan(kind, which, x, how, amount)
            case commands.Fund:
                self.fund(which, how, x)
            case commands.StartWork:
                self.start_work(which, how)
            case commands.ReverseMilestone:
                self.reverse_milestone(which, x, how, amount, released=bool(amount % 2))
            case commands.Complete | commands.Cancel | commands.Refund:
                self.end(kind, which, how, x)
            case commands.RaiseDispute:
                self.dispute(which, how, x % 6)
            case commands.AddEvidence | commands.ReviewDispute | commands.CloseDispute:
                self.hear(kind, which, how)
            case commands.RequestPayout | commands.RetryPayout:
                self.chase(kind, which, how, x)
            case commands.CloseChargeback:
                self.close_chargeback(which, how, lost=bool(x % 2))
            case commands.ReachDeadline:
                self.reach_deadline(which, x)
            case _:
                self.review(kind, which, x, how)

    def create(self, buyer: int, seller: int, money: int, parts: int, more: int, who: int) -> None:
        """Agree on an escrow; some milestones do not fit."""
        count = parts % 4
        pieces = [max(1, money * (3 - parts % 3) // (3 * max(1, count)))] * count
        if parts > 13:
            pieces = [money, 1]
        wait = self.due_dates(more)
        due = self.midnight(wait) if wait is not None else None
        day = (self.began + wait).date() if wait is not None else None
        drafts = tuple(commands.MilestoneDraft(title="Part", amount=one, due=day) for one in pieces)
        names: dict[str, Any] = {"buyer": BUYERS[buyer % 3], "seller": SELLERS[seller % 3]}
        role = ("buyer", "seller", "operator", "platform", "buyer")[who % 5]
        actor = Actor(role=role, party=names.get(role) if who < 9 else "dan")  # type: ignore[arg-type]
        known = next(iter(self.world.deals), None) if who == 8 else None
        command = commands.Create(
            id=new_id("cmd"), escrow=known or new_id("esc"), tenant=self.tenant, actor=actor, amount=money,
            currency="JPY" if more % 4 == 3 else "EUR", category="web" if more % 3 == 2 else "general", title="Website",
            milestones=drafts, **names,
        )  # fmt: skip
        self.agree(command, (due,) * len(drafts))

    def forward(self, which: int, x: int) -> None:
        """What would usually come next for a deal."""
        fitting = [one for one in self.world.deals.values() if self._next(one, x)]
        if fitting and (command := self._next(deal := fitting[which % len(fitting)], x)):
            if isinstance(command, commands.Fund) and x < 8:
                self.fill(deal)
            self.play(command)

    def aim(self, which: int, fits: Callable[[Deal], object]) -> Deal | None:
        """A deal that fits; when none does the step is not wasted, but takes some deal one further."""
        deal = self.deal(which, fits)
        if deal is None:
            self.forward(which, which)
        return deal

    def _next(self, deal: Deal, x: int) -> Command | None:
        for claim in deal.claims:
            if claim.status == "due" and claim.hold is None:
                return self.ask(commands.SendPayout, deal, payout=claim.id, generation=claim.generation)
            if claim.status in {"in_transit", "unknown"}:
                return self._recorded(deal, claim, ("paid", "paid", "failed")[x % 3])
        if deal.contest and x < 5:
            return self.ask(commands.CloseChargeback, deal, outcome="lost" if x % 2 else "won")
        if deal.quarrel:
            return self._heard(deal, deal.quarrel, x)
        if deal.state == "created":
            return self.ask(commands.Fund, deal)
        if deal.state == "funded":
            return self.ask(commands.StartWork, deal)
        for part in deal.open_parts:
            if part.status == "submitted" and x > 4:
                continue  # perhaps nobody reviews it, and time will
            if part.status == "submitted":
                return self.ask(commands.ApproveMilestone, deal, milestone=part.id)
            if deal.state in {"in_progress", "milestone_pending", "milestone_approved"}:
                return self.ask(commands.SubmitMilestone, deal, milestone=part.id, evidence=_EVIDENCE if x else ())
        if deal.state in {"in_progress", "milestone_approved"}:
            return self.ask(commands.Complete, deal)
        return None

    def _heard(self, deal: Deal, quarrel: Quarrel, x: int) -> Command:
        if quarrel.status == "open":
            return self.ask(commands.ReviewDispute, deal, dispute=quarrel.id)
        return self.ask(commands.ResolveDispute, deal, dispute=quarrel.id, **_verdict(x % 5, 1 + x, x % 9))

    def amend(self, which: int, how: int, amount: int) -> None:
        """Change the amount before funding."""
        if (deal := self.aim(which, lambda one: one.state == "created")) is None:
            return
        self.play(self.ask(commands.Amend, deal, how, amount=amount))

    def plan(self, kind: type[Command], which: int, place: int, how: int, amount: int) -> None:
        """Agree on one more milestone, or on more or less for one, before funding."""
        if (deal := self.aim(which, lambda one: one.state == "created" and one.parts)) is None:
            return
        if not deal.parts:
            return
        about = (
            {"title": "More"}
            if kind is commands.AddMilestone
            else {"milestone": deal.parts[place % len(deal.parts)].id}
        )
        self.play(self.ask(kind, deal, how, amount=1 + amount % 99 if place < 8 else amount, **about))

    def fund(self, which: int, how: int, card: int) -> None:
        """Fund from the wallet or by a card that pays more, less or nothing."""
        if (deal := self.aim(which, lambda one: one.state == "created")) is None:
            return
        if card < 5:
            self.play(self.ask(commands.Fund, deal, how))
            return
        command = self.ask(commands.Fund, deal, how, source="gateway", payment_method="pm_card_visa")
        self.pay_by_card(deal, command, (0, 0, 50, -300, 0)[card - 5], works=card < 9)
        self.play(command)

    def start_work(self, which: int, how: int) -> None:
        """The seller begins."""
        if (deal := self.aim(which, lambda one: one.state == "funded")) is None:
            return
        self.play(self.ask(commands.StartWork, deal, how))

    def review(self, kind: type[Command], which: int, place: int, how: int) -> None:
        """Submit, withdraw, approve or reject a milestone."""
        legal = {"pending", "rejected"} if kind is commands.SubmitMilestone else {"submitted"}
        self._of_milestone(kind, which, place, how, legal, **_SAID.get(kind, {}))

    def reverse_milestone(self, which: int, place: int, how: int, amount: int, *, released: bool) -> None:
        """Give back a part of a milestone, before or after its release."""
        legal = FREED if released else OPEN
        self._of_milestone(commands.ReverseMilestone, which, place, how, legal, amount=amount, reason="less")

    def _of_milestone(
        self, kind: type[Command], which: int, place: int, how: int, legal: set[str], /, **fields: Any
    ) -> None:
        if (
            deal := self.aim(which, lambda one: one.funded and any(part.status in legal for part in one.parts))
        ) is None:
            return
        if not deal.parts:
            return
        fitting = [one for one in deal.parts if one.status in legal] if place < 8 else []
        part = (fitting or deal.parts)[place % len(fitting or deal.parts)]
        if "amount" in fields and place < 8:
            most = max(1, part.left - part.clawed)
            fields["amount"] = most if place < 2 else 1 + fields["amount"] % most
        self.play(self.ask(kind, deal, how, milestone=part.id, **fields))

    def end(self, kind: type[Command], which: int, how: int, x: int) -> None:
        """Complete, cancel or refund."""
        states = {
            commands.Complete: {"in_progress", "milestone_approved"}, commands.Refund: {"funded"},
            commands.Cancel: {"in_progress", "milestone_approved", "funded"},
        }[kind]  # fmt: skip
        if (deal := self.aim(which, lambda one: one.state in states)) is None:
            return
        fields: dict[str, Any] = {"amount": x + 1} if kind is commands.Refund and x > 7 else {}
        self.play(self.ask(kind, deal, 11 if kind is commands.Cancel and how < 9 else how, **fields))

    def dispute(self, which: int, how: int, named: int) -> None:
        """Freeze all that is held, or a milestone or two."""
        if (deal := self.aim(which, lambda one: one.state in {"funded", "in_progress", "milestone_pending"})) is None:
            return
        parts = tuple(part.id for part in (deal.open_parts or deal.parts)[: max(0, named - 2)])
        fields = {"reason": "not as agreed", "description": "It does not open.", "milestones": parts}
        self.play(self.ask(commands.RaiseDispute, deal, how, **fields))

    def hear(self, kind: type[Command], which: int, how: int) -> None:
        """Add evidence, take a dispute, close its file."""
        statuses = {
            commands.AddEvidence: {"open", "under_review"}, commands.ReviewDispute: {"open"},
            commands.CloseDispute: {"resolved"},
        }[kind]  # fmt: skip
        fields = {"statement": "It opens here."} if kind is commands.AddEvidence else {}
        self._in_file(kind, which, how, statuses, **fields)

    def resolve(self, which: int, how: int, verdict: int, amount: int, share: int) -> None:
        """An operator decides."""
        fields = _verdict(verdict, amount if how == 10 else 1 + amount % 20, share)
        self._in_file(commands.ResolveDispute, which, how, {"under_review"}, **fields)

    def _in_file(self, kind: type[Command], which: int, how: int, statuses: set[str], /, **fields: Any) -> None:
        if (deal := self.aim(which, lambda one: any(quarrel.status in statuses for quarrel in one.quarrels))) is None:
            return
        fitting = [one.id for one in deal.quarrels if one.status in statuses] or [one.id for one in deal.quarrels]
        self.play(self.ask(kind, deal, how, dispute=fitting[-1] if fitting else new_id("dsp"), **fields))

    def chase(self, kind: type[Command], which: int, how: int, x: int) -> None:
        """Ask for a payout, or have it sent again."""
        fields: dict[str, Any] = {"destination": "acct_new"} if kind is commands.RetryPayout and x == 9 else {}
        if kind is commands.RetryPayout:
            self._of_payout(kind, which, how, lambda one: one.status in {"failed", "returned"}, **fields)
        else:
            self._of_payout(kind, which, how, lambda one: one.status == "due" and one.hold, **fields)

    def send_payout(self, which: int, late: int) -> None:
        """The workflow sends a payout, or an older generation of it."""
        self._of_payout(commands.SendPayout, which, 0, lambda one: one.status == "due", late=late)

    def record_payout(self, which: int, late: int, outcome: str) -> None:
        """The gateway has an answer."""
        statuses = {"paid"} if outcome == "returned" else {"in_transit", "unknown"}
        fits: Callable[[Claim], object] = lambda one: one.status in statuses  # noqa: E731
        self._of_payout(commands.RecordPayout, which, 0, fits, late=late, outcome=outcome)

    def _of_payout(
        self, kind: type[Command], which: int, how: int, fits: Callable[[Claim], object], late: int = 0, **fields: Any
    ) -> None:
        if (deal := self.aim(which, lambda one: any(fits(claim) for claim in one.claims))) is None:
            return
        if not deal.claims:
            return
        claim = next((one for one in deal.claims if fits(one)), deal.claims[-1])
        if "generation" in kind.model_fields:
            fields["generation"] = claim.generation + (late == 9)
        self.play(self.ask(kind, deal, how, payout=claim.id, **fields))

    def _recorded(self, deal: Deal, claim: Claim, outcome: str) -> Command:
        fields = {"payout": claim.id, "generation": claim.generation, "outcome": outcome}
        return self.ask(commands.RecordPayout, deal, **fields)

    def open_chargeback(self, which: int, how: int, amount: int, *, late: bool, again: int) -> None:
        """The payer's bank contests a payment, or a debit fails late."""
        if (deal := self.aim(which, lambda one: one.funded and not one.contest)) is None:
            return
        number = len(deal.contests) - (again == 9)
        most = max(1, deal.funded - deal.lost)
        amount = amount if again > 7 else most if again < 3 else 1 + amount % most
        kind = "failed_charge" if late else "chargeback"
        self.play(self.ask(commands.OpenChargeback, deal, how, kind=kind, reference=f"du_{number}", amount=amount))

    def close_chargeback(self, which: int, how: int, *, lost: bool) -> None:
        """The bank has decided."""
        if (deal := self.aim(which, lambda one: one.contest)) is None:
            return
        self.play(self.ask(commands.CloseChargeback, deal, how, outcome="lost" if lost else "won"))

    def reach_deadline(self, which: int, late: int) -> None:
        """A timer fires: in time, too early, or for a deadline that was superseded."""
        if (deal := self.aim(which, lambda one: one.alarms)) is None:
            return
        self.play(self.next_deadline(deal, late))

    def wait(self, hours: int) -> None:
        """The tenant's clock goes forward; deadlines act with whatever comes next."""
        self.world.hours += hours
        tenants.move_clock(self.engine, self.tenant, timedelta(hours=int(self.world.hours)))
        self.set_up("wait")

    def change(self, what: int, a: int, b: int, c: int, d: int) -> None:
        """Something around the escrows: a policy, a party, a rate, money for a wallet."""
        changes: tuple[Callable[[], None], ...] = (
            lambda: self.put_fees(a, b, c, d),
            lambda: self.put_fees(a, b, c, d),
            lambda: self.put_terms(a, b, c, d % 10),
            lambda: self.put_limits(a // 3, b, c, d % 10),
            lambda: self.put_dispute_policy(a, b % 4),
            lambda: self.put_party(PEOPLE[a % 4], b),
            lambda: self.put_rate(4 + a % 6, (1, 3, 30)[b % 3]),
            lambda: self.charge(PEOPLE[a % 4], 1 + 40 * b + c, "JPY" if d % 2 else "EUR"),
        )
        changes[what]()
        self.set_up(("fees", "fees", "terms", "limits", "dispute policy", "party", "rate", "top up")[what])


def _verdict(verdict: int, amount: int, share: int) -> dict[str, Any]:
    resolution = ("buyer_favor", "seller_favor", "partial_refund", "split", "mediation")[verdict]
    given: dict[str, dict[str, Any]] = {
        "partial_refund": {"refund_amount": amount},
        "split": {"seller_share": Decimal(share % 9) / 8},
    }
    return {"resolution": resolution, "details": "Both sides were heard."} | given.get(resolution, {})


_SAID: Final[dict[type[Command], dict[str, Any]]] = {
    commands.SubmitMilestone: {"evidence": _EVIDENCE},
    commands.RejectMilestone: {"reason": "the logo is missing"},
}
