"""What the platform takes, as a tenant writes it down. Source: domain.md, section 5."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.fields import Category, Document, Share

Outcome = Literal["release", "refund", "split", "reversal"]


class FeeRule(Document):
    """The platform's rate for one outcome and category; ``*`` is every category without a rule of its own."""

    outcome: Outcome
    category: Category | Literal["*"] = "*"
    rate: Share


class FeePolicy(Document):
    """What the platform takes, per outcome and category. An outcome without a rule cannot happen."""

    rules: Annotated[tuple[FeeRule, ...], Field(max_length=200)]

    @model_validator(mode="after")
    def _one_rule_each(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for index, rule in enumerate(self.rules):
            if (rule.outcome, rule.category) in seen:
                raise ValueError(f"rules[{index}]: a second rule for {rule.outcome} of category {rule.category}")
            seen.add((rule.outcome, rule.category))
        return self
