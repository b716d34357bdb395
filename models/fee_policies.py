"""What the platform takes, as a tenant writes it down. Source: domain.md, section 5.

All amounts are minor units of the escrow's own currency: 1500 is 15.00 EUR in one escrow and 1500 JPY in another.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from models.fields import Amount, Balance, Category, Document, Share
from models.money import MAX_AMOUNT

MAX_BANDS: Final = 50

Outcome = Literal["release", "refund", "split", "reversal"]
Payer = Literal["seller", "buyer", "both"]


class Band(Document):
    """One step of a table: ``rate`` holds from ``start`` upwards, inclusive (``from`` in JSON, minor units)."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    start: Balance = Field(alias="from")
    rate: Share


class Tiers(Document):
    """Rates that depend on an amount.

    ``graduated``: each band's rate on its own part; 20 % from 0 and 10 % from 50000 make 11000 of 60000.
    ``whole_volume``: one rate on everything, chosen by the amount; the same bands make 6000 of 60000.
    ``deal_amount`` counts within one escrow, ``party_volume`` all that the seller was released before in this currency.
    """

    mode: Literal["graduated", "whole_volume"]
    basis: Literal["deal_amount", "party_volume"]
    bands: tuple[Band, ...]


class FeeRule(Document):
    """What is taken for one outcome and category; ``*`` is every category without a rule of its own.

    ``rate`` or ``tiers``, plus ``fixed``, not below ``minimum`` and not above ``maximum``. ``payer`` is whose money it
    is: the seller's release, or what the buyer adds at funding. What fits together is checked by ``FeePolicy``, which
    can name a rule by its place.
    """

    outcome: Outcome
    category: Category | Literal["*"] = "*"
    rate: Share | None = None
    fixed: Balance = 0
    minimum: Balance | None = None
    maximum: Balance | None = None
    tiers: Tiers | None = None
    payer: Payer = "seller"

    @property
    def name(self) -> str:
        """Outcome and category, as settlements and refusals show it: ``release/web``."""
        return f"{self.outcome}/{self.category}"


class DisputeFee(Document):
    """What a resolved dispute costs, beside the platform's fee; ``loser`` is who got the smaller part."""

    amount: Amount
    payer: Literal["buyer", "seller", "loser", "split"]


class FeePolicy(Document):
    """What the platform takes, per outcome and category. An outcome without a rule cannot happen.

    ``pin_at`` says which version counts: the one in force at release, or the one in force at funding. Refused when
    written, naming the rule and the band, is whatever could not be computed, or would be taken from nobody's money.
    """

    pin_at: Literal["release", "funding"] = "release"
    rules: Annotated[tuple[FeeRule, ...], Field(max_length=200)]
    dispute_fee: DisputeFee | None = None

    @model_validator(mode="after")
    def _every_rule_can_be_followed(self) -> Self:
        problems = [
            f"rules[{index}] ({rule.name}): {problem}"
            for index, rule in enumerate(self.rules)
            for problem in (*_wrong_with(rule), *self._wrong_beside_the_others(index, rule))
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def rule(self, outcome: Outcome, category: str) -> FeeRule | None:
        """The rule for an outcome: the one of the exact category wins over ``*``."""
        named = {one.category: one for one in reversed(self.rules) if one.outcome == outcome}
        return named.get(category) or named.get("*")

    def _wrong_beside_the_others(self, index: int, rule: FeeRule) -> Iterator[str]:
        for earlier, other in enumerate(self.rules[:index]):
            if other.name == rule.name:
                yield f"a second rule for {rule.outcome} of category {rule.category}, beside rules[{earlier}]"
        if rule.outcome == "split" and rule.payer != "seller":
            yield from self._not_added_at_funding(rule)

    def _not_added_at_funding(self, rule: FeeRule) -> Iterator[str]:
        """Only a release rule makes the buyer add money; a split finds none where that rule is the seller's."""
        categories = {one.category: None for one in self.rules if rule.category in {"*", one.category}}
        for category in categories | {rule.category: None}:
            release = self.rule("release", category)
            if self.rule("split", category) == rule and (release is None or release.payer == "seller"):
                why = "is missing" if release is None else "has payer seller"
                yield (
                    f"payer {rule.payer}, but the buyer adds nothing at funding for category {category}: its release "
                    f"rule {why}"
                )


def _wrong_with(rule: FeeRule) -> Iterator[str]:
    """What makes a rule impossible to follow, whatever the other rules are."""
    if rule.rate is not None and rule.tiers is not None:
        yield "rate and tiers exclude each other: keep one"
    if rule.rate is None and rule.tiers is None and not rule.fixed:
        yield 'rate, tiers or fixed is needed; for no fee at all write "rate": "0"'
    if rule.minimum is not None and rule.maximum is not None and rule.minimum > rule.maximum:
        yield f"minimum {rule.minimum} is above maximum {rule.maximum}"
    if rule.maximum is not None and rule.fixed > rule.maximum:
        yield f"fixed {rule.fixed} is above maximum {rule.maximum}, so the rate would never count"
    if rule.outcome in {"refund", "reversal"} and rule.payer != "seller":
        yield (
            f"payer {rule.payer}: a {rule.outcome} can only be charged on what is returned, since nobody else's money "
            "is there; leave payer out"
        )
    for field in ("fixed", "minimum", "maximum"):
        if (getattr(rule, field) or 0) > MAX_AMOUNT:
            yield f"{field} {getattr(rule, field)} is above {MAX_AMOUNT}, the largest amount"
    if rule.tiers is not None:
        yield from _wrong_bands(rule.tiers.bands)


def _wrong_bands(bands: tuple[Band, ...]) -> Iterator[str]:
    if not 1 <= len(bands) <= MAX_BANDS:
        yield f"tiers have 1 to {MAX_BANDS} bands, not {len(bands)}"
        return
    if bands[0].start:
        yield f"bands[0] begins at {bands[0].start} instead of 0, so a smaller volume would have no rate"
    for index, (below, band) in enumerate(pairwise(bands), start=1):
        if band.start <= below.start:
            yield f"bands[{index}] begins at {band.start}, not above bands[{index - 1}] at {below.start}"
    if bands[-1].start > MAX_AMOUNT:
        yield f"bands[{len(bands) - 1}] begins at {bands[-1].start}, above {MAX_AMOUNT}, the largest amount"
