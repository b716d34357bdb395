"""The platform's fee, computed from the policy in force. Source: domain.md, section 5.

Everything is exact until the one rounding, half-up, at the fee line.
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from models.errors import ErrorCode, RefusedError
from models.fee_policies import Band, FeeRule, Outcome, Payer, Tiers
from models.money import CurrencyMismatchError, Money
from models.policies import Policies

_RATE_DECIMALS: Final = 10**10  # rates have at most ten decimals, so every exact amount is a multiple of its inverse


@dataclass(frozen=True)
class Standing:
    """What tiers are counted by, all in the escrow's currency, minor units.

    ``deal`` is the escrow's agreed amount, ``released`` what was released of this deal before this release, and
    ``party_volume`` what the seller was released by this tenant in this currency before this release.
    """

    deal: Money
    released: Money
    party_volume: Money

    def after(self, release: Money) -> "Standing":
        """The standing in which the next release finds the deal."""
        return Standing(self.deal, self.released + release, self.party_volume + release)


@dataclass(frozen=True)
class _Part:
    """A part of the amount that has one rate; ``where`` says which, when there are tiers."""

    amount: int
    rate: Decimal
    where: str = ""

    @property
    def fee(self) -> Fraction:
        return self.amount * Fraction(self.rate)


@dataclass(frozen=True)
class Fee:
    """A rule found in a policy, and the standing that its tiers are counted by.

    Without a standing tiers count from zero: nothing was released before, and the amount is the whole deal.
    """

    rule: FeeRule
    policy_version: int
    standing: Standing | None = None

    @property
    def name(self) -> str:
        """The rule's outcome and category: ``release/web``."""
        return self.rule.name

    @property
    def payer(self) -> Payer:
        """Whose money the fee is: the seller's, the buyer's, or half each."""
        return self.rule.payer

    @property
    def rate(self) -> Decimal | None:
        """The one rate that applies, 0 where the fee is a fixed amount; None where it takes several bands, or the
        amount, to know."""
        tiers = self.rule.tiers
        if tiers is None:
            return Decimal(0) if self.rule.rate is None else self.rule.rate
        if len(tiers.bands) == 1:
            return tiers.bands[0].rate
        if tiers.mode == "graduated" or (self.standing is None and tiers.basis == "deal_amount"):
            return None
        return _band_at(tiers, self._level(tiers, 0)).rate

    def on(self, base: Money) -> Money:
        """The fee on an amount, rounded half-up once: 150000 at 10 % is 15000, 335 at 10 % is 34.

        Rate or tiers, plus ``fixed``, then ``minimum`` and ``maximum``, and never more than the amount itself:
        10000 at 2.9 % and 30 fixed is 320, 20 at the same is 20, 0 is 0.
        """
        fee = _half_up(self._limited(self._exact(base)))
        return Money(max(0, min(fee, base.amount)), base.currency)

    def parts(self, fee: Money) -> tuple[Money, Money]:
        """The buyer's and the seller's part of a fee; of 33 for ``both`` 16 and 17."""
        buyer = {"seller": 0, "both": fee.amount // 2, "buyer": fee.amount}[self.payer]
        return Money(buyer, fee.currency), Money(fee.amount - buyer, fee.currency)

    def steps(self, base: Money) -> tuple[str, ...]:
        """How the fee came about, for the settlement: version and rule, each part with its rate, what else counted."""
        parts, exact, fee = self._parts(base), self._exact(base), self.on(base).amount
        limited = self._limited(exact)
        if self.rule.tiers is None and not self.rule.fixed and limited == exact:
            return (self._source(), *(f"{one.rate} x {one.amount} = {fee} (rounded half-up)" for one in parts))
        lines = [self._source(), *(f"{one.rate} x {one.amount} = {_text(one.fee)}{one.where}" for one in parts)]
        if self.rule.fixed:
            lines.append(f"fixed {self.rule.fixed}")
        if limited != exact:
            limit = "minimum" if limited > exact else "maximum"
            lines.append(f"{limit} {_text(limited)} in place of {_text(exact)}")
        lines.append(f"together {_text(limited)} = {_half_up(limited)} (rounded half-up)")
        if fee < _half_up(limited):
            lines.append(f"never more than the amount itself: {fee}")
        return tuple(lines)

    def _source(self) -> str:
        rule, how = self.rule, "fixed amount"
        if rule.rate is not None:
            how = f"rate {rule.rate}"
        elif rule.tiers is not None:
            how = f"{rule.tiers.mode} tiers by {rule.tiers.basis}"
        payer = "" if self.payer == "seller" else f", payer {self.payer}"
        return f"fee policy version {self.policy_version}, rule {self.name}, {how}{payer}"

    def _exact(self, base: Money) -> Fraction:
        return sum((part.fee for part in self._parts(base)), Fraction(self.rule.fixed))

    def _limited(self, exact: Fraction) -> Fraction:
        if self.rule.minimum is not None:
            exact = max(exact, Fraction(self.rule.minimum))
        if self.rule.maximum is not None:
            exact = min(exact, Fraction(self.rule.maximum))
        return exact

    def _parts(self, base: Money) -> list[_Part]:
        if self.standing is not None and self.standing.deal.currency != base.currency:
            raise CurrencyMismatchError(f"a standing in {self.standing.deal.currency} says nothing about {base}")
        tiers = self.rule.tiers
        if tiers is None:
            return [] if self.rule.rate is None else [_Part(base.amount, self.rule.rate)]
        if tiers.mode == "graduated":
            return _graduated(tiers, self._before(tiers), base.amount)
        level = self._level(tiers, base.amount)
        band = _band_at(tiers, level)
        return [_Part(base.amount, band.rate, f" (the band from {band.start}, since {tiers.basis} is {level})")]

    def _before(self, tiers: Tiers) -> int:
        if self.standing is None:
            return 0
        return (self.standing.released if tiers.basis == "deal_amount" else self.standing.party_volume).amount

    def _level(self, tiers: Tiers, base: int) -> int:
        """What chooses the one rate of ``whole_volume``: the deal's amount, or the volume before this release."""
        if tiers.basis == "party_volume":
            return self._before(tiers)
        return base if self.standing is None else self.standing.deal.amount


def find_fee(policies: Policies, outcome: Outcome, category: str, standing: Standing | None = None) -> Fee:
    """Find the rule for an outcome: the exact category wins over ``*``.

    Raises ``RefusedError`` (fee_policy_not_found) when the tenant has no rule for it.
    """
    rule = policies.fees.rule(outcome, category) if policies.fees else None
    if rule is not None:
        return Fee(rule, policies.fees_version or 0, standing)
    raise RefusedError(
        ErrorCode.FEE_POLICY_NOT_FOUND,
        f"there is no fee rule for outcome {outcome!r} and category {category!r}: add one to the fee policy and retry",
        outcome=outcome,
        category=category,
        rules=[one.name for one in policies.fees.rules] if policies.fees else [],
    )


def _graduated(tiers: Tiers, before: int, amount: int) -> list[_Part]:
    """Lay the release [before, before + amount) over the bands: 60000 after 0 is 50000 at 20 % and 10000 at 10 %."""
    ends = [band.start for band in tiers.bands[1:]] + [None]
    parts = []
    for band, end in zip(tiers.bands, ends, strict=True):
        low, high = max(band.start, before), before + amount if end is None else min(end, before + amount)
        if low < high:
            parts.append(_Part(high - low, band.rate, f" (of {tiers.basis}, from {low} to {high})"))
    return parts


def _band_at(tiers: Tiers, level: int) -> Band:
    return max((band for band in tiers.bands if band.start <= level), key=lambda band: band.start)


def _half_up(exact: Fraction) -> int:
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)


def _text(exact: Fraction) -> str:
    """An exact amount of minor units as people write it: 4000, 33.5."""
    whole, rest = divmod(exact * _RATE_DECIMALS, _RATE_DECIMALS)
    return f"{whole}.{int(rest):010}".rstrip("0").rstrip(".")
