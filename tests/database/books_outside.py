"""What the world outside says, in the model: payouts and the gateway, chargebacks and the bank. domain.md, 9 and 11."""

from typing import Any, Final

from tests.database.books_model import FREED, Claim, Contest, Deal, Moment
from tests.database.books_rules import Reasons, Rules

INVALID: Final = {"invalid_transition"}
MISMATCH: Final = {"refund_amount_mismatch"}
PAID_BY: Final = {"paid": {"in_transit", "unknown"}, "failed": {"in_transit", "unknown"}, "unknown": {"in_transit"},
                  "returned": {"paid"}}  # fmt: skip


def unless(condition: object, reasons: Reasons) -> Reasons:
    """The reasons, unless the condition holds."""
    return set() if condition else reasons


class Outside(Rules):
    """Commands about money that leaves the platform."""

    def _open_chargeback(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        known = any(one.reference == command.reference for one in deal.contests)
        reasons = unless(not deal.contest and not known, {"chargeback_open"})
        if not (most := deal.funded - deal.lost):
            return reasons | INVALID
        if reasons := reasons | unless(command.amount <= most, MISMATCH):
            return reasons
        world = self.world
        held = min(command.amount, world.held(deal))
        added = max(0, held - world.principal(deal))
        disputed = min(command.amount - held, world.of("disputed_funds", deal.id, deal.currency))
        frozen = held + disputed
        world.post(
            deal.currency, ("escrow_hold", deal.id, -held), ("disputed_funds", deal.id, -disputed),
            ("chargeback_hold", deal.id, frozen),
        )  # fmt: skip
        deal.added -= added
        deal.contests.append(Contest(command.kind, command.reference, command.amount, frozen, added, disputed))
        deal.hush(*deal.parts, *deal.quarrels)
        if command.kind == "failed_charge":
            self.bank_takes(deal, command.amount - frozen)
        self.look_at_claims(deal, now)
        return set()

    def _close_chargeback(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        contest, world = deal.contest, self.world
        if contest is None:
            return {"not_found"}
        if command.outcome == "lost":
            self.lose(deal, contest, now)
            return set()
        if contest.kind == "failed_charge" and contest.amount > contest.frozen:
            return {"invalid_command"}  # what had been released is taken back already
        contest.status, held = "won", contest.frozen - contest.disputed
        world.post(
            deal.currency, ("escrow_hold", deal.id, held), ("disputed_funds", deal.id, contest.disputed),
            ("chargeback_hold", deal.id, -contest.frozen),
        )  # fmt: skip
        deal.added += contest.added
        self.wake(deal, now)
        self.look_at_claims(deal, now)
        return set()

    def _request_payout(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        claim = deal.claim(command.payout)
        if claim.status != "due" or claim.hold is None:
            return INVALID
        before = claim.requested, claim.enough
        claim.requested = claim.requested or command.actor.role != "system"
        claim.enough = claim.enough or command.actor.role == "operator"
        if self.hold(deal, claim, now) == claim.hold:
            claim.requested, claim.enough = before
            return {"payout_held"}
        self.consider(deal, claim, now)
        return set()

    def _retry_payout(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        claim = deal.claim(command.payout)
        if claim.status not in {"failed", "returned"}:
            return INVALID
        self.send_again(deal, claim, command.destination, now)
        return set()

    def _send_payout(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        claim, world = deal.claim(command.payout), self.world
        if (claim.status, claim.generation) != ("due", command.generation):
            return INVALID
        if claim.hold or self.barred(deal, claim):
            claim.generation += 1
            self.consider(deal, claim, now)
            return set()
        seller = world.people[deal.seller]
        destination = claim.destination or seller.destination
        if destination is None or destination == seller.invalid:
            self.fail(deal, claim, now)
            return set()
        there = min(claim.amount, world.of("payable", deal.seller, deal.currency))
        if not (units := there - self.net(deal, there)):
            claim.status = "cancelled"
            return set()
        claim.status, claim.amount, claim.destination = "in_transit", units, destination
        world.post(deal.currency, ("payable", deal.seller, -units), ("payout_in_transit", claim.id, units))
        return set()

    def _record_payout(self, deal: Deal, command: Any, now: Moment) -> Reasons:
        claim, outcome = deal.claim(command.payout), command.outcome
        if claim.status not in PAID_BY[outcome] or claim.generation != command.generation:
            return INVALID
        return self._told(deal, claim, outcome, now)

    def _told(self, deal: Deal, claim: Claim, outcome: str, now: Moment) -> Reasons:
        """The gateway has said it."""
        world, units, transit = self.world, claim.amount, ("payout_in_transit", claim.id, -claim.amount)
        if outcome == "failed":
            world.post(deal.currency, transit, ("payable", deal.seller, units))
            self.fail(deal, claim, now)
            return set()
        claim.status = outcome
        if outcome == "paid":
            world.post(deal.currency, transit, ("gateway_cash", "stripe", -units))
        elif outcome == "returned":
            world.post(deal.currency, ("gateway_cash", "stripe", units), ("payable", deal.seller, units))
            world.people[deal.seller].invalid = claim.destination
        for part in claim.freed.parts:
            if outcome in {"paid", "returned"} and part.status in FREED:
                part.status = "paid" if outcome == "paid" else "approved"
        return set()
