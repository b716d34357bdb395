"""Amounts in currencies that Stripe counts differently from ISO 4217. Source: docs.stripe.com/currencies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.gateways.port import Declined, Succeeded
from activities.gateways.stripe import StripeGateway
from activities.gateways.stripe_amounts import AmountNotRepresentableError, from_stripe, to_stripe
from models.currencies import EXPONENTS
from tests.gateway.sandbox_process import SandboxProcess


@pytest.mark.parametrize(
    ("currency", "ours", "theirs"),
    [
        ("EUR", 1050, 1050),
        ("JPY", 500, 500),
        ("KWD", 5120, 5120),
        ("ISK", 5, 500),
        ("UGX", 5, 500),
        ("MGA", 300, 3),
        ("HUF", 1045, 1045),
        ("TWD", 80045, 80045),
    ],
)
def test_an_amount_is_converted_exactly(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, currency: str, ours: int, theirs: int
) -> None:
    """What we call an amount and what Stripe calls it are the same money, there and back."""
    outcome = gateway.transfer(key=key, destination="acct_1", amount=ours, currency=currency, metadata={})
    assert isinstance(outcome, Succeeded)
    assert (outcome.amount, outcome.currency) == (ours, currency)
    [made] = sandbox.transfers(key)
    assert (made["amount"], made["currency"]) == (theirs, currency.lower())


@pytest.mark.parametrize(("currency", "amount"), [("KWD", 5124), ("MGA", 350), ("IQD", 1000), ("LYD", 10)])
def test_an_amount_that_would_need_rounding_is_refused_before_it_is_sent(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, currency: str, amount: int
) -> None:
    """Nothing is ever rounded on its way to the provider: it is declined, and the provider never sees it."""
    outcome = gateway.transfer(key=key, destination="acct_1", amount=amount, currency=currency, metadata={})
    assert isinstance(outcome, Declined)
    assert outcome.code == "amount_not_representable"
    assert sandbox.journal(key) == []


@given(st.sampled_from(sorted(EXPONENTS)), st.integers(1, 10**15))
def test_every_representable_amount_survives_the_round_trip(currency: str, amount: int) -> None:
    """For every currency an amount comes back unchanged or was refused."""
    try:
        converted = to_stripe(amount, currency)
    except AmountNotRepresentableError:
        return
    assert from_stripe(converted, currency) == amount


def test_a_part_of_a_minor_unit_in_an_answer_is_refused() -> None:
    """1.50 ISK in an answer cannot be said in our units, so it is not taken for 1."""
    with pytest.raises(AmountNotRepresentableError):
        from_stripe(150, "ISK")
