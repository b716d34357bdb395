"""Which version of the fee policy prices a settlement: that of the release, or that of the funding. Edge case 23."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from models.commands import ApproveMilestone, Cancel, Command, Fund, RaiseDispute, ReverseMilestone, ReviewDispute
from models.commands import ResolveDispute as Resolve
from models.decision import Settlement
from models.fee_policies import FeePolicy
from models.policies import Policies
from models.states import State
from tests.builders import Deal, policies


def pinned(rate: str = "0.10", version: int = 1, **fields: Any) -> Policies:
    """The usual policies with ``pin_at: funding``."""
    written = policies(rate, version=version, **fields)
    assert written.fees is not None
    return replace(written, fees=written.fees.model_copy(update={"pin_at": "funding"}))


def settlement(deal: Deal, kind: type[Command], **fields: Any) -> Settlement:
    """What a command settles."""
    settled = deal.do(kind, **fields).settlement
    assert settled is not None
    return settled


def test_edge_23_by_default_the_version_in_force_at_release_prices_it_and_the_settlement_says_which() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, policies("0.10", version=1))
    assert deal.escrow.fee_policy_version is None
    deal.policies = policies("0.12", version=2)
    settled = settlement(deal, ApproveMilestone)
    assert (settled.rule.policy_version, settled.division.platform_fee.amount) == (2, 18000)
    assert settled.steps[0].startswith("fee policy version 2, rule release/*, rate 0.12")


def test_edge_23_pinned_at_funding_the_escrow_remembers_the_version_of_then() -> None:
    deal = Deal.at(State.CREATED, pinned(version=7))
    assert deal.escrow.fee_policy_version is None, "an agreement pins nothing, funding is acceptance"
    assert deal.do(Fund).escrow.fee_policy_version == 7


def test_edge_23_the_version_of_the_funding_decides_not_the_one_of_the_agreement() -> None:
    deal = Deal.at(State.CREATED, policies("0.10", version=1))
    deal.policies = pinned("0.12", version=2)
    deal.do(Fund)
    assert deal.escrow.fee_policy_version == 2


def test_edge_23_one_that_is_written_with_pin_at_funding_does_not_pin_what_was_funded_before() -> None:
    deal = Deal.at(State.MILESTONE_PENDING, policies("0.10", version=1))
    deal.policies = pinned("0.12", version=2)
    assert settlement(deal, ApproveMilestone).rule.policy_version == 2
    assert deal.escrow.fee_policy_version is None


@pytest.mark.parametrize(
    ("steps", "kind", "fields", "fee"),
    [
        ((), Cancel, {}, 5000),
        ((), ReverseMilestone, {"amount": 100000}, 2000),
        ((RaiseDispute, ReviewDispute), Resolve, {"resolution": "seller_favor"}, 50000),
        ((RaiseDispute, ReviewDispute), Resolve, {"resolution": "split", "seller_share": "0.5"}, 25000),
    ],
)
def test_edge_23_the_pinned_version_prices_every_outcome_and_each_settlement_names_it(
    steps: tuple[type[Command], ...], kind: type[Command], fields: dict[str, Any], fee: int
) -> None:
    deal = Deal.at(State.IN_PROGRESS, pinned(refund="0.01", split="0.05", reversal="0.02", version=3))
    for step in steps:
        deal.do(step)
    settled = settlement(deal, kind, **fields)
    assert (settled.rule.policy_version, settled.division.platform_fee.amount) == (3, fee)


def test_pin_at_is_release_or_funding() -> None:
    with pytest.raises(ValidationError, match="'release' or 'funding'"):
        FeePolicy.model_validate_json('{"pin_at": "creation", "rules": []}')
