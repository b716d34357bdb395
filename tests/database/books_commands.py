"""Who may do what and when, in the model: one method a command, from domain.md, 3 and 5 to 11.

A command is answered with every code for which it could be refused; none means that it happened. The command records
of ``models.commands`` are read as data, nothing else of ``models`` is.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from tests.database.books_fees import half_up
from tests.database.books_model import (
    ENDED,
    FREED,
    OPEN,
    TABLE,
    Alarm,
    Deal,
    Moment,
    Part,
    Quarrel,
)
from tests.database.books_outside import INVALID, MISMATCH, Outside, unless
from tests.database.books_rules import Reasons, later

BUYER, SELLER, EITHER = {"buyer", "operator"}, {"seller", "operator"}, {"buyer", "seller", "operator"}
WHO: Final[dict[str, set[str]]] = {
    "amend": EITHER | {"platform"}, "add_milestone": EITHER | {"platform"}, "change_milestone": EITHER | {"platform"},
    "fund": BUYER, "approve_milestone": BUYER, "reject_milestone": BUYER,
    "complete": BUYER, "start_work": SELLER, "submit_milestone": SELLER, "withdraw_submission": SELLER,
    "reverse_milestone": SELLER, "cancel": EITHER, "refund": SELLER, "dispute": EITHER, "add_evidence": EITHER,
    "review_dispute": {"operator"}, "resolve_dispute": {"operator"}, "close_dispute": {"operator"},
    "request_payout": SELLER | {"platform", "system"}, "retry_payout": SELLER,
    "open_chargeback": {"operator", "system"}, "close_chargeback": {"operator", "system"},
    "send_payout": {"system"}, "record_payout": {"system"}, "reach_deadline": {"system"},
}  # fmt: skip


def at_table(deal: Deal, event: str) -> Reasons:
    """Whether the state knows the event."""
    return unless(event in TABLE[deal.state], INVALID)


class Commands(Outside):
    """Commands on the model's world."""

    order: Callable[[Alarm], str] = staticmethod(lambda _alarm: "")
    """How the books order two deadlines of one instant; which comes first is theirs to choose."""

    def create(self, command: Any, milestones: list[Part]) -> Reasons:
        """Agree on a deal; ``milestones`` become its own when it is accepted."""
        world, terms = self.world, self.world.terms
        who = command.actor
        if who.role not in EITHER | {"platform"} or (
            who.role in {"buyer", "seller"} and who.party != getattr(command, who.role)
        ):
            return {"forbidden"}
        if command.escrow in world.deals:
            return {"already_exists"}
        reasons = unless(command.buyer != command.seller, {"invalid_command"})
        reasons |= self._agreeable(terms, command.amount, [part.amount for part in milestones])
        reasons |= self._gate(command.buyer, command.amount, command.currency)
        if not reasons:
            world.deals[command.escrow] = Deal(
                command.escrow, command.buyer, command.seller, command.amount, command.currency, command.category,
                dict(terms), milestones,
            )  # fmt: skip
        return reasons

    def _agreeable(self, terms: dict[str, Any], amount: int, parts: list[int]) -> Reasons:
        found = unless(len(parts) <= terms["limit"], {"milestone_limit"})
        return found | unless(sum(parts) <= amount, {"invalid_command"})

    def _gate(self, buyer: str, amount: int, currency: str) -> Reasons:
        enough = self.world.of("wallet", buyer, currency) >= amount
        return unless(enough or not self.world.wallet_gate, {"payment_required"})

    def play(self, command: Any) -> Reasons:
        """Let the deadlines that have come act, in order, then the command."""
        deal, now = self.world.deals[command.escrow], self.world.now
        while alarm := min(deal.alarms, key=lambda one: (one.at, self.order(one)), default=None):
            if alarm.at > now:
                break
            self._ring(deal, alarm, now)
        if command.name == "reach_deadline":
            return set()
        if reasons := self._admitted(deal, command):
            return reasons
        reasons = getattr(self, f"_{command.name}")(deal, command, now)
        deal.version += not reasons
        return set(reasons)

    def _admitted(self, deal: Deal, command: Any) -> Reasons:
        who, name = command.actor, command.name
        reasons = unless(command.expected_version in {None, deal.version}, {"conflict"})
        if who.role not in WHO[name] or (who.role in {"buyer", "seller"} and who.party != getattr(deal, who.role)):
            reasons.add("forbidden")
        if name == "cancel" and who.role == "buyer" and deal.state not in {"created", "funded"} | ENDED:
            reasons.add("forbidden")
        if name in {"review_dispute", "resolve_dispute", "close_dispute"} and who.party in {deal.buyer, deal.seller}:
            reasons |= {"forbidden", "not_found"} | INVALID  # one of its parties; and perhaps it is not under review
        return reasons

    def _ring(self, deal: Deal, alarm: Alarm, now: Moment) -> None:
        """A deadline acts at its own moment; what may not be is put off by an hour from now."""
        about, deal.version = alarm.about, deal.version + 1
        if isinstance(about, Part):
            reasons = self.hindered(deal, "release") if alarm.kind == "auto_approve" else set()
        elif isinstance(about, Quarrel):
            needs = {"buyer_favor": "refund", "seller_favor": "release"}.get(self.world.dispute["default"])
            reasons = self.hindered(deal, needs) if needs else self.frozen(deal) & {"chargeback_open"}
        else:
            reasons = set()
        if reasons:
            alarm.at = later(now, 1)
            return
        deal.alarms.remove(alarm)
        if isinstance(about, Quarrel):
            self.end_quarrel(deal, about, self.world.dispute["default"], 0, Fraction(0), alarm.at)
        elif isinstance(about, Part):
            if alarm.kind == "auto_approve":
                self.release(deal, about, alarm.at)
        elif alarm.kind == "pay_out":
            self.consider(deal, about, alarm.at)
        else:
            self.send_again(deal, about, None, alarm.at)

    def _amend(self, deal: Deal, command: Any, _now: Moment) -> Reasons:
        if deal.state != "created":
            return INVALID
        amount = command.amount or deal.amount
        reasons = unless(sum(part.amount for part in deal.parts) <= amount, {"invalid_command"})
        if not (reasons := reasons | self._gate(deal.buyer, amount, deal.currency)):
            deal.amount = amount
        return reasons

    def _add_milestone(self, deal: Deal, command: Any, _now: Moment) -> Reasons:
        if deal.state != "created":
            return INVALID
        parts = [*(part.amount for part in deal.parts), command.amount]
        if not (reasons := self._agreeable(deal.terms, deal.amount, parts)):
            deal.parts.append(Part("", command.amount))
        return reasons

    def _change_milestone(self, deal: Deal, command: Any, _now: Moment) -> Reasons:
        if deal.state != "created":
            return INVALID
        part = deal.part(command.milestone)
        others = [one.amount for one in deal.parts if one is not part]
        if not (reasons := unless(sum(others) + command.amount <= deal.amount, {"invalid_command"})):
            part.amount = command.amount
        return reasons

    def _fund(self, deal: Deal, command: Any, _now: Moment) -> Reasons:
        world = self.world
        if reasons := at_table(deal, "fund"):
            return reasons
        added = self.to_add(deal)
        units, limit = deal.amount + added, world.verified_above["funding"]
        known = limit is None or units <= limit or world.people[deal.buyer].kyc == "verified"
        reserve = world.reserve.get(deal.currency, 0) if command.source == "wallet" else 0
        enough = world.of("wallet", deal.buyer, deal.currency) >= units + reserve
        paid = command.source == "wallet" or world.charged
        enough = enough and (command.source == "wallet" or world.charged >= units)
        reasons = self.frozen(deal) | unless(known, {"kyc_required"}) | unless(enough, {"payment_required"})
        reasons |= unless(paid, {"payment_declined"})
        if reasons:
            return reasons
        world.post(deal.currency, ("wallet", deal.buyer, -units), ("escrow_hold", deal.id, units))
        deal.funded, deal.added, deal.state = units, added, "funded"
        if world.fees and world.fees[-1].get("pin_at") == "funding":
            deal.pinned = len(world.fees) - 1
        return set()

    def _start_work(self, deal: Deal, _command: Any, _now: Moment) -> Reasons:
        if reasons := at_table(deal, "start_work"):
            return reasons
        deal.state = "in_progress"
        return set()

    def _submit_milestone(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        part = deal.part(command.milestone)
        reasons = at_table(deal, "submit_milestone") | unless(part.status in {"pending", "rejected"}, INVALID)
        reasons |= unless(command.evidence or not deal.terms["evidence"], {"evidence_required"})
        if reasons:
            return reasons
        part.status, part.rounds = "submitted", part.rounds + 1
        self.watch(deal, part, now)
        if deal.state != "disputed":
            deal.state = "milestone_pending"
        return set()

    def _withdraw_submission(self, deal: Deal, command: Any, _now: Moment) -> Reasons:
        part = deal.part(command.milestone)
        return self._back_to_seller(deal, part, "rejected" if part.rejections else "pending")

    def _reject_milestone(self, deal: Deal, command: Any, _now: Moment) -> Reasons:
        part = deal.part(command.milestone)
        if not (reasons := at_table(deal, "reject_milestone") | self._back_to_seller(deal, part, "rejected")):
            part.rejections += 1
        return reasons

    def _back_to_seller(self, deal: Deal, part: Part, status: str) -> Reasons:
        if part.status != "submitted":
            return INVALID
        part.status = status
        deal.hush(part)
        if deal.state != "disputed":
            deal.state = "milestone_pending" if deal.submitted() else "in_progress"
        return set()

    def _approve_milestone(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        part = deal.part(command.milestone)
        reasons = at_table(deal, "approve_milestone") | unless(part.status == "submitted", INVALID)
        if not reasons and not (reasons := self.hindered(deal, "release")):
            self.release(deal, part, now)
        return reasons

    def _reverse_milestone(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        part, units = deal.part(command.milestone), command.amount
        if part.status in FREED:
            return self._claw_back(deal, part, units)
        if part.status not in OPEN or not self.world.held(deal):
            return INVALID
        if reasons := unless(units <= part.left, MISMATCH) or self.hindered(deal, "reversal", "release"):
            return reasons
        fee = self.fee(deal, "reversal", part.reversed + units) - self.fee(deal, "reversal", part.reversed)
        back = deal.added if self.world.principal(deal) == units and not deal.quarrel else 0
        self.settle(deal, "reversal", "escrow_hold", (fee, 0), (0, units - fee), back, [part], now)
        part.reversed += units
        if not part.left:
            part.status = "refunded"
            deal.hush(part)
        if not self.world.left(deal):
            deal.state = "completed" if any(one.status in FREED for one in deal.parts) else "cancelled"
        elif deal.state == "milestone_pending" and not deal.submitted():
            deal.state = "in_progress"
        return set()

    def _claw_back(self, deal: Deal, part: Part, units: int) -> Reasons:
        freed = next(one for one in deal.freed if part in one.parts)
        reasons = unless(units <= min(part.left - part.clawed, freed.reachable), MISMATCH)
        if reasons := reasons or self.frozen(deal):
            return reasons
        before = half_up(freed.returned * freed.rate)
        whole = self.take_back(deal, freed, units, ("wallet", deal.buyer))
        deal.released, deal.refunded = deal.released - whole, deal.refunded + whole
        deal.settled.append(("reversal", whole, 0, 0, whole, half_up(freed.returned * freed.rate) - before))
        part.clawed += units
        if part.clawed == part.left:
            part.status = "refunded"
        return set()

    def _complete(self, deal: Deal, _command: Any, now: Moment) -> Reasons:
        if reasons := at_table(deal, "complete") or self.hindered(deal, "release"):
            return reasons
        parts, total = deal.open_parts, self.world.principal(deal)
        for part in parts:
            part.status = "approved"
            deal.hush(part)
        fee = self.fee_legs(deal, "release", total, deal.added)
        self.settle(deal, "release", "escrow_hold", fee, (total - fee[0], 0), deal.added - fee[1], parts, now)
        deal.state = "completed"
        return set()

    def _cancel(self, deal: Deal, _command: Any, now: Moment) -> Reasons:
        if reasons := at_table(deal, "cancel") or (self.hindered(deal, "refund") if deal.funded else set()):
            return reasons
        self.give_back_all(deal, "cancelled", now)
        deal.state = "cancelled"
        return set()

    def _refund(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        reasons = at_table(deal, "refund") | unless(command.amount in {None, self.world.left(deal)}, MISMATCH)
        if reasons := reasons or self.hindered(deal, "refund"):
            return reasons
        self.give_back_all(deal, "refunded", now)
        deal.state = "refunded"
        return set()

    def _dispute(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        named = [deal.part(one) for one in command.milestones]
        reasons = at_table(deal, "dispute") | unless(all(part.status in OPEN for part in named), INVALID)
        if reasons := reasons or unless(not deal.contest, {"chargeback_open"}):
            return reasons
        covered, principal = named or deal.open_parts, self.world.principal(deal)
        amount = sum(part.left for part in named) if named else principal
        added = deal.added if amount == principal else 0  # what was added for the fees is frozen with the last of it
        tired = command.actor.role == "seller" and any(one.rejections >= deal.terms["rounds"] for one in covered)
        quarrel = Quarrel(covered, amount, added, "under_review" if tired else "open", deal.state)
        for part in covered:
            part.status = "disputed"
            deal.hush(part)
        frozen = amount + added
        self.world.post(deal.currency, ("escrow_hold", deal.id, -frozen), ("disputed_funds", deal.id, frozen))
        deal.quarrels.append(quarrel)
        deal.added, deal.state = deal.added - added, "disputed"
        self.wait_for(deal, quarrel, now)
        return set()

    def _in_file(self, deal: Deal, command: Any, *statuses: str) -> tuple[Quarrel | None, Reasons]:
        quarrel = next((one for one in deal.quarrels if one.id == command.dispute), None)
        if quarrel is None:
            return None, {"not_found"}
        return quarrel, unless(quarrel.status in statuses, INVALID)

    def _add_evidence(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        quarrel, reasons = self._in_file(deal, command, "open", "under_review")
        if quarrel and not reasons and command.actor.role not in quarrel.heard:
            quarrel.heard.add(command.actor.role)
            self.wait_for(deal, quarrel, now)
        return reasons

    def _review_dispute(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        quarrel, reasons = self._in_file(deal, command, "open")
        if quarrel and not reasons:
            quarrel.status = "under_review"
            self.wait_for(deal, quarrel, now)
        return reasons

    def _resolve_dispute(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        quarrel, reasons = self._in_file(deal, command, "under_review")
        reasons |= at_table(deal, "resolve_dispute")
        refund, share = command.refund_amount or 0, Fraction(command.seller_share or 0)
        how = command.resolution
        if quarrel is None or (reasons := reasons or unless(refund < quarrel.amount, MISMATCH)):
            return reasons
        reasons = self.frozen(deal) & {"chargeback_open"}
        if how != "mediation":
            reasons = self.hindered(deal, {"buyer_favor": "refund", "split": "split"}.get(how, "release"))
        if not reasons:
            self.end_quarrel(deal, quarrel, how, refund, share, now)
        return reasons

    def _close_dispute(self, deal: Deal, command: Any, _now: Moment) -> Reasons:
        quarrel, reasons = self._in_file(deal, command, "resolved")
        if quarrel and not reasons:
            quarrel.status = "closed"
        return reasons
