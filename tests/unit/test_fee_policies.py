"""What cannot be computed, or would be taken from nobody, is refused when the policy is written."""

import json
from typing import Any, Final

import pytest
from pydantic import ValidationError

from models.fee_policies import Band, FeePolicy
from models.money import MAX_AMOUNT
from tests.unit.test_fees import tiers

# The policy that the HTTP contract shows.
WRITTEN: Final = {
    "pin_at": "release",
    "rules": [
        {"outcome": "release", "category": "*", "rate": "0.10", "payer": "seller"},
        {"outcome": "release", "category": "design", "tiers": {"mode": "graduated", "basis": "deal_amount",
            "bands": [{"from": 0, "rate": "0.20"}, {"from": 50000, "rate": "0.10"}]}},
        {"outcome": "refund", "category": "*", "rate": "0"},
        {"outcome": "split", "category": "*", "rate": "0.10"},
        {"outcome": "reversal", "category": "*", "rate": "0"},
    ],
    "dispute_fee": {"amount": 1500, "payer": "loser"},
}  # fmt: skip


def policy(*rules: dict[str, Any], **fields: Any) -> FeePolicy:
    """A policy as JSON brings it."""
    return FeePolicy.model_validate_json(json.dumps({"rules": rules} | fields))


def refused(*rules: dict[str, Any]) -> str:
    """The message with which a policy is refused."""
    with pytest.raises(ValidationError) as caught:
        policy(*rules)
    return "; ".join(problem["msg"] for problem in caught.value.errors())


def a_release(**fields: Any) -> dict[str, Any]:
    """A release rule of category web."""
    return {"outcome": "release", "category": "web"} | fields


def banded(*starts: int) -> dict[str, Any]:
    """A release rule of category web with bands from these bounds."""
    return a_release(tiers=tiers("graduated", "deal_amount", [(start, "0.1") for start in starts]))


def test_the_policy_of_the_http_contract_is_read_stored_and_read_again() -> None:
    read = FeePolicy.model_validate_json(json.dumps(WRITTEN))
    assert FeePolicy.model_validate_json(read.model_dump_json()) == read
    assert FeePolicy.model_validate(read.model_dump()) == read
    assert read.rules[1].tiers is not None
    assert [band.start for band in read.rules[1].tiers.bands] == [0, 50000]


def test_a_band_is_stored_under_its_written_name() -> None:
    stored = json.loads(FeePolicy.model_validate_json(json.dumps(WRITTEN)).model_dump_json())
    assert stored["rules"][1]["tiers"]["bands"] == [{"from": 0, "rate": "0.20"}, {"from": 50000, "rate": "0.10"}]
    assert Band(start=0, rate="0.20") == Band.model_validate({"from": 0, "rate": "0.20"})  # type: ignore[arg-type]


def test_a_policy_stored_before_there_were_tiers_still_counts() -> None:
    old = policy({"outcome": "release", "category": "web", "rate": "0.10"}, {"outcome": "refund", "rate": "0"})
    assert (old.pin_at, old.dispute_fee) == ("release", None)
    assert [(rule.name, rule.payer, rule.fixed) for rule in old.rules] == [
        ("release/web", "seller", 0), ("refund/*", "seller", 0),
    ]  # fmt: skip


def test_a_second_rule_for_one_outcome_and_category_is_refused_and_names_both() -> None:
    message = refused(a_release(rate="0.05"), {"outcome": "release", "rate": "0.1"}, a_release(rate="0.06"))
    assert "rules[2] (release/web): a second rule for release of category web, beside rules[0]" in message


def test_rate_and_tiers_together_are_refused() -> None:
    assert "rules[0] (release/web): rate and tiers exclude each other" in refused(banded(0) | {"rate": "0.1"})


@pytest.mark.parametrize("fields", [{}, {"fixed": 0}, {"minimum": 100}, {"maximum": 100}])
def test_a_rule_that_says_no_fee_is_refused_with_the_way_to_write_none(fields: dict[str, Any]) -> None:
    message = refused({"outcome": "refund", "rate": "0"}, a_release(**fields))
    assert 'rules[1] (release/web): rate, tiers or fixed is needed; for no fee at all write "rate": "0"' in message


def test_a_volume_below_the_first_band_is_refused_when_written() -> None:
    assert "rules[0] (release/web): bands[0] begins at 100 instead of 0" in refused(banded(100, 200))


@pytest.mark.parametrize("starts", [(0, 500, 500), (0, 500, 499), (0, 1000, 0)])
def test_bounds_that_do_not_rise_are_refused_by_band(starts: tuple[int, ...]) -> None:
    assert f"rules[0] (release/web): bands[2] begins at {starts[2]}, not above bands[1]" in refused(banded(*starts))


def test_there_are_one_to_fifty_bands() -> None:
    assert "rules[0] (release/web): tiers have 1 to 50 bands, not 0" in refused(banded())
    assert "rules[0] (release/web): tiers have 1 to 50 bands, not 51" in refused(banded(*range(51)))
    assert policy(banded(*range(50)))


def test_a_minimum_above_the_maximum_is_refused() -> None:
    message = refused(a_release(rate="0.1", minimum=501, maximum=500))
    assert "rules[0] (release/web): minimum 501 is above maximum 500" in message
    assert policy(a_release(rate="0.1", minimum=500, maximum=500))


def test_a_fixed_amount_above_the_maximum_is_refused_since_the_rate_would_never_count() -> None:
    assert "rules[0] (release/web): fixed 501 is above maximum 500" in refused(
        a_release(rate="0.1", fixed=501, maximum=500)
    )


@pytest.mark.parametrize("outcome", ["refund", "reversal"])
@pytest.mark.parametrize("payer", ["buyer", "both"])
def test_a_refund_and_a_reversal_are_charged_on_what_is_returned_and_take_no_payer(outcome: str, payer: str) -> None:
    message = refused({"outcome": outcome, "rate": "0.1", "payer": payer})
    assert f"rules[0] ({outcome}/*): payer {payer}: a {outcome} can only be charged on what is returned" in message


def test_a_split_paid_by_the_buyer_needs_a_release_that_makes_the_buyer_add_the_money() -> None:
    split, by_seller = {"outcome": "split", "rate": "0.1", "payer": "both"}, a_release(rate="0.1")
    assert "rules[0] (split/*): payer both, but the buyer adds nothing at funding for category *" in refused(split)
    assert "rules[1] (split/*): payer both, but the buyer adds nothing at funding for category web" in refused(
        {"outcome": "release", "rate": "0.1", "payer": "both"}, split, by_seller
    )
    assert policy({"outcome": "release", "rate": "0.1", "payer": "both"}, split)
    assert policy(by_seller | {"payer": "buyer"}, split | {"category": "web"})


@pytest.mark.parametrize("field", ["fixed", "minimum", "maximum"])
def test_amounts_have_the_limit_of_all_amounts(field: str) -> None:
    message = refused(a_release(**{"rate": "0.1", field: MAX_AMOUNT + 1}))
    assert f"rules[0] (release/web): {field} {MAX_AMOUNT + 1} is above {MAX_AMOUNT}" in message
    assert policy(a_release(**{"rate": "0.1", field: MAX_AMOUNT}))


def test_a_bound_has_the_limit_of_all_amounts() -> None:
    assert f"rules[0] (release/web): bands[1] begins at {MAX_AMOUNT + 1}, above" in refused(banded(0, MAX_AMOUNT + 1))


def test_every_problem_is_told_at_once() -> None:
    message = refused(banded(5, 4), a_release(rate="0.1", minimum=2, maximum=1))
    for problem in ("bands[0] begins at 5", "bands[1] begins at 4", "minimum 2 is above", "a second rule"):
        assert problem in message
    assert message.count("rules[1] (release/web)") == 2


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("rate", 0.1), ("rate", "1.01"), ("rate", "-0.1"), ("fixed", -1), ("fixed", 1.5), ("fixed", "30"),
        ("minimum", -1), ("payer", "platform"), ("outcome", "partial_refund"), ("surcharge", 1),
    ],
)  # fmt: skip
def test_a_field_takes_no_other_type_nor_range(place: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        policy(a_release(rate="0.1") | {place: value})
    assert caught.value.errors()[0]["loc"][:3] == ("rules", 0, place)


@pytest.mark.parametrize("fee", [{"amount": 0, "payer": "loser"}, {"amount": 1500, "payer": "both"}, {"amount": 1500}])
def test_a_dispute_fee_has_an_amount_and_a_payer(fee: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        policy(a_release(rate="0.1"), dispute_fee=fee)
