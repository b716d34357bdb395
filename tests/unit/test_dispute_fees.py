"""A dispute fee is paid by its payer's side of the settlement; the rest is owed. Source: domain.md, section 5."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import divisions
from models.dispute_fees import DisputeCharge, assess, with_dispute_fee
from models.divisions import Division
from models.fee_policies import DisputeFee
from models.money import Money
from tests.builders import eur
from tests.unit.test_fees import a_fee

# The specification's split of 100000 at 10 %, 70 to 30.
SPLIT = divisions.split(eur(100000), a_fee("0.10", outcome="split"), Decimal("0.7"))
TIE = divisions.split(eur(100000), a_fee("0.10", outcome="split"), Decimal("0.5"))


def charged(payer: str, division: Division, amount: int = 1500) -> tuple[int, int, int, int]:
    """What is taken from and owed by the seller, then the buyer."""
    charge = assess(DisputeFee.model_validate({"amount": amount, "payer": payer}), division)
    return (
        charge.seller_taken.amount, charge.seller_owed.amount, charge.buyer_taken.amount, charge.buyer_owed.amount,
    )  # fmt: skip


def of(fee: int, seller: int, buyer: int) -> Division:
    """A division by its parts."""
    return Division(eur(fee + seller + buyer), eur(fee), eur(seller), eur(buyer))


def test_the_named_side_pays_from_its_share() -> None:
    assert charged("seller", SPLIT) == (1500, 0, 0, 0)
    assert charged("buyer", SPLIT) == (0, 0, 1500, 0)


def test_the_loser_is_the_side_that_got_the_smaller_part() -> None:
    assert charged("loser", SPLIT) == (0, 0, 1500, 0)
    assert charged("loser", of(0, 26999, 27000)) == (1500, 0, 0, 0)


def test_on_a_tie_nobody_lost_and_both_pay() -> None:
    assert charged("loser", TIE) == (750, 0, 750, 0)


def test_split_is_half_each_and_the_odd_unit_is_the_sellers() -> None:
    assert charged("split", SPLIT, 1501) == (751, 0, 750, 0)


def test_what_the_share_does_not_cover_is_owed() -> None:
    """The loser of a release in the seller's favour got nothing to pay from."""
    assert charged("loser", of(10000, 90000, 0)) == (0, 0, 0, 1500)
    assert charged("loser", of(0, 1000, 99000)) == (1000, 500, 0, 0)
    assert charged("split", of(0, 100, 200), 1001) == (100, 401, 200, 300)


def test_the_settlement_takes_the_fee_from_the_side_that_pays_it() -> None:
    after = with_dispute_fee(SPLIT, assess(DisputeFee(amount=1500, payer="loser"), SPLIT))
    assert after == Division(eur(100000), eur(11500), eur(63000), eur(25500))


def test_a_charge_above_a_share_cannot_be_settled() -> None:
    with pytest.raises(ArithmeticError, match="must conserve"):
        with_dispute_fee(SPLIT, DisputeCharge(eur(0), eur(0), eur(27001), eur(0)))


def test_a_dispute_fee_is_in_the_divisions_currency() -> None:
    yen = Division(Money(100, "JPY"), Money(0, "JPY"), Money(70, "JPY"), Money(30, "JPY"))
    charge = assess(DisputeFee(amount=40, payer="buyer"), yen)
    assert (charge.taken, charge.owed) == (Money(30, "JPY"), Money(10, "JPY"))


@settings(deadline=None)
@given(
    st.sampled_from(["buyer", "seller", "loser", "split"]),
    st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6),
)  # fmt: skip
def test_a_dispute_fee_is_taken_or_owed_to_the_last_unit_and_the_settlement_conserves_its_total(
    payer: str, amount: int, fee: int, seller: int, buyer: int
) -> None:
    division = of(fee, seller, buyer)
    charge = assess(DisputeFee.model_validate({"amount": amount, "payer": payer}), division)
    assert charge.taken + charge.owed == eur(amount)
    after = with_dispute_fee(division, charge)
    assert after.total == division.total
    assert after.platform_fee - division.platform_fee == charge.taken
    for taken, owed, left in (
        (charge.seller_taken, charge.seller_owed, after.seller_payout),
        (charge.buyer_taken, charge.buyer_owed, after.buyer_refund),
    ):
        assert min(taken.amount, owed.amount) >= 0
        assert not owed.amount or not left.amount, "nothing is owed while there is something to take"
