"""How money moves in the model: settlements, netting, payouts, clawbacks, chargebacks. From domain.md, 4 to 11."""

from fractions import Fraction

from tests.database.books_fees import buyers_part, dispute_fee, fee_on, given_back, half_up, rule_for, shared
from tests.database.books_model import (
    ENDED,
    FREED,
    GATEWAY,
    UNSENT,
    Alarm,
    Claim,
    Contest,
    Deal,
    Freed,
    Moment,
    Part,
    Quarrel,
    World,
)

Reasons = set[str]
DAY = 24


def later(at: Moment, hours: int | Fraction) -> Moment:
    """A moment that many hours on."""
    return at[0] + hours, at[1]


class Rules:
    """The moves; each is whole, so whatever may forbid one is asked before (``hindered``)."""

    def __init__(self, world: World) -> None:
        self.world = world

    def frozen(self, deal: Deal) -> Reasons:
        """Why no money of a deal may move at all."""
        people = self.world.people
        found = {"chargeback_open"} if deal.contest else set()
        blocked = any(people[one].blocked for one in (deal.buyer, deal.seller))
        return found | ({"party_blocked"} if blocked else set())

    def hindered(self, deal: Deal, *outcomes: str) -> Reasons:
        """Why a settlement that needs the rules for these outcomes may not be made."""
        found, world = self.frozen(deal), self.world
        if any(rule_for(world.fee_policy(deal), one, deal.category) is None for one in outcomes):
            found.add("fee_policy_not_found")
        if deal.currency != "EUR":
            _, age = world.rates.get(deal.currency, (Fraction(0), 10**6))
            if age * DAY > world.terms["rate_age"]:
                found.add("exchange_rate_unavailable")
        return found

    def fee(self, deal: Deal, outcome: str, base: int) -> int:
        """The fee on an amount, as the deal stands."""
        rule = rule_for(self.world.fee_policy(deal), outcome, deal.category)
        assert rule is not None
        released = sum(one.principal for one in deal.freed)
        volume = self.world.volume[deal.seller, deal.currency]
        return fee_on(rule, base, deal=deal.amount, released=released, volume=volume)

    def fee_legs(self, deal: Deal, outcome: str, base: int, pot: int) -> tuple[int, int]:
        """A fee as it can be taken: of the amount itself, and of what the buyer had added."""
        rule = rule_for(self.world.fee_policy(deal), outcome, deal.category)
        assert rule is not None
        fee = self.fee(deal, outcome, base)
        buyers = buyers_part(rule, fee)
        return min(fee - buyers, base), min(buyers, pot)

    def to_add(self, deal: Deal) -> int:
        """What the buyer adds at funding: the buyer's part of the fee of each release that is foreseen."""
        rule = rule_for(self.world.fees[-1] if self.world.fees else None, "release", deal.category)
        if rule is None:
            return 0
        added, before, volume = 0, 0, self.world.volume[deal.seller, deal.currency]
        for piece in [part.amount for part in deal.parts] + [deal.amount - sum(part.amount for part in deal.parts)]:
            fee = fee_on(rule, piece, deal=deal.amount, released=before, volume=volume + before)
            added, before = added + buyers_part(rule, fee), before + piece
        return added

    def settle(
        self, deal: Deal, outcome: str, source: str, fee: tuple[int, int], shares: tuple[int, int], back: int, /,
        parts: list[Part], now: Moment, *, quarrel: Quarrel | None = None,
    ) -> None:  # fmt: skip
        """Divide: ``fee`` of the amount and of the added money, ``shares`` of seller and buyer, ``back`` unused."""
        (seller, buyer), world = shares, self.world
        total = sum(fee) + seller + buyer + back
        principal = fee[0] + seller if outcome in {"release", "split", "partial_refund"} else 0
        buyer += back
        policy = world.fee_policy(deal) or {}
        charged = {"seller": (0, 0), "buyer": (0, 0)}
        if quarrel and policy.get("dispute_fee"):
            charged = dispute_fee(policy["dispute_fee"], seller, buyer, back)
        extra = charged["seller"][0] + charged["buyer"][0]
        seller, buyer = seller - charged["seller"][0], buyer - charged["buyer"][0]
        extra_held = fee[1] + back if quarrel and not quarrel.added else 0  # a dispute of a part froze none of it
        world.post(
            deal.currency, (source, deal.id, extra_held - total), ("escrow_hold", deal.id, -extra_held),
            ("payable", deal.seller, seller), ("wallet", deal.buyer, buyer),
            ("fee_revenue", "platform", sum(fee)), ("dispute_fee_revenue", "platform", extra),
        )  # fmt: skip
        if source == "escrow_hold" or extra_held:
            deal.added -= fee[1] + back
        deal.released, deal.refunded = deal.released + total - buyer, deal.refunded + buyer
        rate = world.rate(deal)
        deal.settled.append((outcome, total, sum(fee) + extra, seller, buyer, half_up(total * rate)))
        freed = Freed(parts, principal, sum(fee), fee[1], rate)
        if principal:
            deal.freed.append(freed)
            world.volume[deal.seller, deal.currency] += principal
        for party, side in ((deal.seller, "seller"), (deal.buyer, "buyer")):
            owed = charged[side][1]
            world.post(deal.currency, ("receivable", party, owed), ("dispute_fee_revenue", "platform", owed))
        self._claim(deal, freed, seller, now)

    def release(self, deal: Deal, part: Part, now: Moment) -> None:
        """Release a milestone; with the last of the money what the buyer added and nobody used goes back."""
        total, last = part.left, self.world.principal(deal) == part.left and not deal.quarrel
        fee = self.fee_legs(deal, "release", total, deal.added)
        part.status = "approved"
        deal.hush(part)
        back = deal.added - fee[1] if last else 0
        self.settle(deal, "release", "escrow_hold", fee, (total - fee[0], 0), back, [part], now)
        if not self.world.left(deal):
            deal.state = "completed"
        elif deal.state != "disputed":
            deal.state = "milestone_pending" if deal.submitted() else "milestone_approved"

    def give_back_all(self, deal: Deal, status: str, now: Moment) -> None:
        """All that is held to the buyer, less the refund fee."""
        parts, total, pot = deal.open_parts, self.world.principal(deal), deal.added
        for part in parts:
            part.status = status
            deal.hush(part)
        if self.world.held(deal):
            fee = self.fee(deal, "refund", total)
            self.settle(deal, "refund", "escrow_hold", (fee, 0), (0, total - fee), pot, parts, now)

    def end_quarrel(self, deal: Deal, quarrel: Quarrel, how: str, refund: int, share: Fraction, now: Moment) -> None:
        """Divide what a dispute froze, or send everyone back to work."""
        deal.hush(quarrel)
        quarrel.status = "resolved"
        total, pot = quarrel.amount, quarrel.added or deal.added
        if how == "mediation":
            for part in quarrel.contested_parts:
                part.status = "rejected" if part.rounds else "pending"
            self._thaw(deal, quarrel)
        elif how == "buyer_favor":
            fee = self.fee(deal, "refund", total)
            self._divide(deal, quarrel, "refund", (fee, 0), (0, total - fee), now)
        elif how == "split":
            legs = self.fee_legs(deal, "split", total, pot)
            self._divide(deal, quarrel, "split", legs, shared(total - legs[0], share), now, nothing=not share)
        else:
            rest = total - refund
            legs = self.fee_legs(deal, "release", rest, pot)
            outcome = "partial_refund" if refund else "release"
            self._divide(deal, quarrel, outcome, legs, (rest - legs[0], refund), now)
        deal.state = self._after_quarrel(deal, quarrel, how)

    def _divide(
        self, deal: Deal, quarrel: Quarrel, outcome: str, fee: tuple[int, int], shares: tuple[int, int], now: Moment,
        nothing: bool = False,
    ) -> None:  # fmt: skip
        parts = quarrel.contested_parts
        for part in parts:
            part.status = "refunded" if outcome == "refund" or nothing else "approved"
        pot = quarrel.added or deal.added
        back = 0 if self.world.principal(deal) else pot - fee[1]
        self.settle(deal, outcome, "disputed_funds", fee, shares, back, parts, now, quarrel=quarrel)

    def _thaw(self, deal: Deal, quarrel: Quarrel) -> None:
        frozen = quarrel.amount + quarrel.added
        self.world.post(deal.currency, ("disputed_funds", deal.id, -frozen), ("escrow_hold", deal.id, frozen))
        deal.added += quarrel.added

    def _after_quarrel(self, deal: Deal, quarrel: Quarrel, how: str) -> str:
        if not self.world.left(deal):
            return "refunded" if how == "buyer_favor" else "completed"
        if deal.submitted():
            return "milestone_pending"
        work_began = quarrel.came_from == "funded" and any(part.rounds for part in deal.parts)
        return "in_progress" if work_began or quarrel.came_from == "milestone_pending" else quarrel.came_from

    def _claim(self, deal: Deal, freed: Freed, earned: int, now: Moment) -> None:
        due = earned - self.net(deal, earned)
        if not due:
            return
        days = [part.due for part in freed.parts if part.due is not None]
        ready = None
        if deal.terms["trigger"] == "time" and deal.terms["clearance"]:
            ready = later(now, deal.terms["clearance"])
        elif deal.terms["trigger"] == "time" and days:
            ready = (max(days), 0)
        claim = Claim(freed, due, None, ready)
        deal.claims.append(claim)
        self.consider(deal, claim, now)

    def net(self, deal: Deal, units: int) -> int:
        """Take what the seller owes out of what the seller is to be paid."""
        netted = min(units, self.world.of("receivable", deal.seller, deal.currency))
        self.world.post(deal.currency, ("payable", deal.seller, -netted), ("receivable", deal.seller, -netted))
        return netted

    def barred(self, deal: Deal, claim: Claim) -> str | None:
        """Why a party may not be paid at all."""
        seller, limit = self.world.people[deal.seller], self.world.verified_above["payout"]
        if seller.blocked:
            return "blocked"
        return "kyc" if limit is not None and claim.amount > limit and seller.kyc != "verified" else None

    def hold(self, deal: Deal, claim: Claim, now: Moment) -> str | None:
        """Why a payout may not go now."""
        if deal.contest:
            return "chargeback"
        if barred := self.barred(deal, claim):
            return barred
        if deal.terms["trigger"] == "manual" and not claim.requested:
            return "manual"
        if claim.ready is not None and now < claim.ready:
            return "clearance"
        together = claim.amount + sum(one.amount for _, one in self.carried(deal) if one is not claim)
        return "minimum" if together < deal.terms["minimum"] and not claim.enough else None

    def carried(self, deal: Deal) -> list[tuple[Deal, Claim]]:
        """What is carried forward to the deal's seller in its currency."""
        same = [one for one in self.world.deals.values() if (one.seller, one.currency) == (deal.seller, deal.currency)]
        return [(one, claim) for one in same for claim in one.claims if claim.waits and not claim.enough]

    def consider(self, deal: Deal, claim: Claim, now: Moment) -> None:
        """Let a payout go and with it what the minimum held, or hold it and look again."""
        deal.hush(claim)
        claim.hold = self.hold(deal, claim, now)
        if claim.hold is None and deal.terms["minimum"]:
            for _, other in self.carried(deal):
                other.enough = True
            for other in deal.claims:
                if other.waits:
                    other.hold, other.enough = None, True
                    deal.hush(other)
        elif claim.hold not in {None, "manual", "chargeback"}:
            at = claim.ready if claim.hold == "clearance" and claim.ready else later(max(now, self.world.now), DAY)
            deal.alarms.append(Alarm("pay_out", claim, at))

    def fail(self, deal: Deal, claim: Claim, now: Moment) -> None:
        """Declined, or nowhere to send it: again by itself after an hour, two, four ..., at most a day."""
        claim.status = "failed"
        if claim.generation <= deal.terms["retries"]:
            wait = min(deal.terms["retry_after"] * 2 ** (claim.generation - 1), DAY)
            deal.alarms.append(Alarm("retry_payout", claim, later(now, wait)))

    def send_again(self, deal: Deal, claim: Claim, destination: str | None, now: Moment) -> None:
        """A new generation."""
        claim.status, claim.generation = "due", claim.generation + 1
        claim.destination = destination
        claim.requested = claim.enough = True
        self.consider(deal, claim, now)

    def take_back(self, deal: Deal, freed: Freed, units: int, target: tuple[str, str]) -> int:
        """A clawback by the original's rates: payable, wallet, receivable. Answers how much reached the target."""
        world, seller = self.world, deal.seller
        own = given_back(freed.fee - freed.added, freed.principal, freed.taken, units)
        added = given_back(freed.added, freed.principal, freed.taken, units)
        payable = min(units - own, world.of("payable", seller, deal.currency))
        wallet = min(units - own - payable, world.of("wallet", seller, deal.currency))
        owed, whole = units - own - payable - wallet, units + added
        sign = -1 if target[0] == "gateway_cash" else 1
        world.post(
            deal.currency, ("fee_revenue", "platform", -own - added), ("payable", seller, -payable),
            ("wallet", seller, -wallet), ("receivable", seller, owed), (*target, sign * whole),
        )  # fmt: skip
        freed.taken, freed.returned = freed.taken + units, freed.returned + whole
        for claim in deal.claims:
            if claim.freed is freed and claim.status in UNSENT and payable:
                if payable < claim.amount:
                    claim.amount -= payable
                    if claim.hold:
                        self.consider(deal, claim, self.world.now)
                    continue
                claim.status, claim.hold = "cancelled", None
                deal.hush(claim)
        return whole

    def bank_takes(self, deal: Deal, units: int) -> None:
        """More than was there: the latest release first, then what the buyer got back, from the wallet or owed."""
        left = units
        for freed in reversed(deal.freed):
            step = freed.reachable
            while step + given_back(freed.added, freed.principal, freed.taken, step) > left:
                step -= 1
            if step:
                left -= self.take_back(deal, freed, step, ("gateway_cash", GATEWAY))
        refunded = min(left, deal.refunded)
        wallet = min(refunded, self.world.of("wallet", deal.buyer, deal.currency))
        self.world.post(
            deal.currency, ("wallet", deal.buyer, -wallet), ("receivable", deal.buyer, refunded - wallet),
            ("platform_loss", "platform", left - refunded), ("gateway_cash", GATEWAY, -left),
        )  # fmt: skip
        deal.refunded, deal.lost = deal.refunded - refunded, deal.lost + units
        deal.released -= units - refunded

    def lose(self, deal: Deal, contest: Contest, now: Moment) -> None:
        """The bank decided for the payer: milestones and disputes are about no more than what is left."""
        contest.status = "lost"
        self.world.post(
            deal.currency, ("chargeback_hold", deal.id, -contest.frozen), ("gateway_cash", GATEWAY, -contest.frozen)
        )
        deal.lost += contest.frozen
        if contest.kind == "chargeback":
            self.bank_takes(deal, contest.amount - contest.frozen)
        if (quarrel := deal.quarrel) and contest.disputed:
            of_amount = min(contest.disputed, quarrel.amount)
            quarrel.amount -= of_amount
            quarrel.added -= contest.disputed - of_amount
            self._promise(deal, quarrel.parts, quarrel.amount)
            if not quarrel.amount:
                quarrel.status = "resolved"
                self._thaw(deal, quarrel)
        self._promise(deal, deal.open_parts, self.world.principal(deal))
        self.wake(deal, now)
        self.look_at_claims(deal, now)
        self._after_loss(deal)

    def wake(self, deal: Deal, now: Moment) -> None:
        """Everybody gets the whole window again."""
        for part in deal.parts:
            if part.status == "submitted":
                self.watch(deal, part, now)
        if deal.quarrel:
            self.wait_for(deal, deal.quarrel, now)

    def look_at_claims(self, deal: Deal, now: Moment) -> None:
        """The bank's word decides about what was not sent yet as well."""
        for claim in deal.claims:
            if claim.status == "due":
                self.consider(deal, claim, now)

    def watch(self, deal: Deal, part: Part, now: Moment) -> None:
        """The review window of a submission."""
        if deal.terms["mode"] == "auto" and not deal.contest:
            deal.alarms += [Alarm("remind", part, later(now, wait)) for wait in deal.terms["reminders"]]
            deal.alarms.append(Alarm("auto_approve", part, later(now, deal.terms["window"])))

    def wait_for(self, deal: Deal, quarrel: Quarrel, now: Moment) -> None:
        """The response window of a dispute, anew; none while the bank decides."""
        deal.hush(quarrel)
        if not deal.contest:
            deal.alarms.append(Alarm("default_dispute", quarrel, later(now, self.world.dispute["window"])))

    def _promise(self, deal: Deal, parts: list[Part], units: int) -> None:
        """Cut the last milestones until together they are no more than what is left."""
        missing = sum(part.left for part in parts) - units
        for part in reversed(parts):
            cut = max(0, min(missing, part.left))
            missing -= cut
            if cut and cut == part.left:
                part.status = "cancelled"
                deal.hush(part)
            part.reversed += cut

    def _after_loss(self, deal: Deal) -> None:
        if deal.state in ENDED:
            return
        if deal.quarrel:
            return
        if deal.added and not self.world.principal(deal):
            legs = ("escrow_hold", deal.id, -deal.added), ("wallet", deal.buyer, deal.added)
            self.world.post(deal.currency, *legs)
            deal.refunded, deal.added = deal.refunded + deal.added, 0
        if not self.world.left(deal):
            deal.state = "completed" if any(part.status in FREED for part in deal.parts) else "cancelled"
        elif deal.submitted():
            deal.state = "milestone_pending"
        elif deal.state in {"milestone_pending", "disputed"}:
            deal.state = "in_progress"
