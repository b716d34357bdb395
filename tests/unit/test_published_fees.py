"""Fee tables and worked numbers that other platforms published, and the specification's own, computed by our rules.

Each case names the page it is from. Fees are published in USD unless the case says otherwise; a page's own wording
decides which of our fields it becomes. Prices per unit become rates by letting a unit stand for a round amount.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import pytest

from models import divisions
from models.dispute_fees import assess
from models.divisions import Clawback, Division
from models.fee_policies import DisputeFee, FeePolicy
from models.fees import Fee, Standing
from models.money import Money
from models.policies import Policies
from models.quotes import quote
from tests.builders import eur
from tests.unit.test_divisions import parts
from tests.unit.test_fees import TWO_BANDS, a_fee, a_rule, tiers


def graduated(*bands: tuple[int, str]) -> dict[str, Any]:
    """Each band's rate on its own part of the deal."""
    return {"tiers": tiers("graduated", "deal_amount", list(bands))}


def whole(*bands: tuple[int, str]) -> dict[str, Any]:
    """One rate for the whole deal."""
    return {"tiers": tiers("whole_volume", "deal_amount", list(bands))}


@dataclass(frozen=True)
class Published:
    """One fee table and what its page says it makes of some amounts, in minor units."""

    name: str
    source: str
    rule: dict[str, Any]
    fees: dict[int, int] = field(default_factory=dict)
    currency: str = "USD"


UPWORK: Final = ((0, "0.20"), (50000, "0.10"), (1000000, "0.05"))
EBAY_STORE: Final = ((0, "0.10"), (2500, "0.07"), (10000, "0.05"), (100000, "0.03"))
# One font stands for 10.00, so that 7, 6.5 and 6 dollars a font are 70, 65 and 60 percent.
FONTS: Final = whole((0, "0.70"), (6000, "0.65"), (11000, "0.60"))

TABLES: Final = (
    Published(
        "Upwork: 20 % of the first $500 with a client, 10 % to $10,000, 5 % above; $600 leaves $490",
        "https://support.upwork.com/hc/en-us/articles/211062538-Freelancer-Service-Fees",
        graduated(*UPWORK),
        {60000: 11000},
    ),
    Published(
        "Airbnb: 3 % of a $450 reservation is $13.50",
        "https://www.airbnb.com/help/question/63",
        {"rate": "0.03"},
        {45000: 1350},
    ),
    Published(
        "Airbnb: in whole dollars the same fee is $14 (half-up; the yen stands for a currency without decimals)",
        "https://www.airbnb.com/help/question/63",
        {"rate": "0.03"},
        {450: 14},
        "JPY",
    ),
    Published(
        "Airbnb, fee of the host alone: 15 % of $500 is $75",
        "https://listings.gostudiom.com/tools/fee-calculator",
        {"rate": "0.15"},
        {50000: 7500},
    ),
    Published(
        "Square: 2.9 % + $0.30 of $20.00 is $0.88",
        "https://developer.squareup.com/docs/payments-api/collect-fees/payment-with-app-fee-refund",
        {"rate": "0.029", "fixed": 30},
        {2000: 88},
    ),
    Published(
        "PayPal: 2.9 % + $0.30 of $100.00 is $3.20",
        "PayPal's help, kept at http://fringe.davesource.com/Fringe/Hacking/Hacks/Paypal-Fixed-Transaction-Fee.html",
        {"rate": "0.029", "fixed": 30},
        {10000: 320},
    ),
    Published(
        "Patreon's processing: 2.9 % + $0.30 of $5 is 0.445, so $0.45",
        "https://aiyahub.com/free-tools/all-patonage-platforms-fee-calculator",
        {"rate": "0.029", "fixed": 30},
        {500: 45},
    ),
    Published(
        "Stripe, volume-based: 1 to 5 fonts at $7, 6 to 10 at $6.50, 11 and more at $6",
        "https://docs.stripe.com/subscriptions/pricing-models/tiered-pricing",
        FONTS,
        {1000: 700, 5000: 3500, 6000: 3900, 20000: 12000, 25000: 15000},
    ),
    Published(
        "Stripe, graduated: 5 fonts cost the same $35",
        "https://docs.stripe.com/subscriptions/pricing-models/tiered-pricing",
        graduated((0, "0.70"), (5000, "0.65"), (10000, "0.60")),
        {5000: 3500},
    ),
    Published(
        "Autumn, graduated: 15,000 requests at $0.01, $0.008 from 1,000 and $0.005 from 10,000 cost $107",
        "https://docs.useautumn.com/documentation/modelling-pricing/graduated-pricing",
        graduated((0, "1"), (1000, "0.8"), (10000, "0.5")),
        {15000: 10700},
    ),
    Published(
        "Zuplo, graduated: 15,000 units at $0.10, $0.05 from 1,000 and $0.01 from 10,000 cost $600",
        "https://zuplo.com/docs/articles/monetization/pricing-models",
        graduated((0, "1"), (10000, "0.5"), (100000, "0.1")),
        {150000: 60000},
    ),
    Published(
        "Zuplo, volume: all 15,000 units at the third tier's $0.01 cost $150",
        "https://zuplo.com/docs/articles/monetization/pricing-models",
        whole((0, "1"), (10000, "0.5"), (100000, "0.1")),
        {150000: 15000},
    ),
    Published(
        "Lago, volume: 65,000 calls at the third tier's $0.0006 and its flat $10 cost $49",
        "https://getlago.com/docs/guide/plans/charges/charge-models/volume",
        whole((0, "0.10"), (10001, "0.08"), (50001, "0.06"), (100001, "0.04")) | {"fixed": 1000},
        {65000: 4900},
    ),
    Published(
        "eBay, auction style: 10 % of $400 is $40; of $7,830 it would be $783, but the maximum is $750",
        "https://sellers.ebaymag.com/en/start-sell/seller-fees/examples-fee-calculations/",
        {"rate": "0.10", "maximum": 75000},
        {40000: 4000, 783000: 75000},
    ),
    Published(
        "eBay, before: 9 % of $95 is $8.55, of $5 $0.45; of $3,010 it would be $270.90, but the maximum is $250",
        "eBay's help, kept at https://collectorfreaks.com/threads/"
        "hot-toys-tdk-two-face-harvey-dent-photo-thread.46566/page-146",
        {"rate": "0.09", "maximum": 25000},
        {9500: 855, 500: 45, 301000: 25000},
    ),
    Published(
        "eBay, earlier still: 8.75 % of the first $25 and 3.5 % of the rest to $1,000; $47.53 pays $2.98",
        "https://china2uk.com/UK/Smart_Life/DIY/20201228/211982.html",
        graduated((0, "0.0875"), (2500, "0.035"), (100000, "0.015")),
        {4753: 298},
    ),
    Published(
        "A listing broker: 1 % to $400,000 and 0.5 % above, at least $1,500",
        "http://www.mikesalkin.com/examples.txt (listing commission)",
        graduated((0, "0.01"), (40000000, "0.005")) | {"minimum": 150000},
        {
            10000000: 150000, 30000000: 300000, 40000000: 400000, 60000000: 500000, 80000000: 600000,
            100000000: 700000,
        },
    ),
    Published(
        "The same broker, before: 1 % to $300,000 and 0.5 % above, at least $1,000",
        "http://www.mikesalkin.com/examples.txt (commission calculation)",
        graduated((0, "0.01"), (30000000, "0.005")) | {"minimum": 100000},
        {5000000: 100000, 10000000: 100000, 20000000: 200000, 40000000: 350000, 80000000: 550000},
    ),
    Published(
        "Etsy: 6.5 % of a $50 item with $10 shipping is $3.90",
        "https://wise.com/us/blog/how-much-does-etsy-take-per-sale",
        {"rate": "0.065"},
        {6000: 390},
    ),
    Published(
        "Etsy Payments: 3 % + $0.25 of $50 is $1.75",
        "https://wise.com/us/blog/how-much-does-etsy-take-per-sale",
        {"rate": "0.03", "fixed": 25},
        {5000: 175},
    ),
    Published(
        "Freelancer.com: 3 % or $3.00, whichever is greater (the amounts are ours: they meet at $100)",
        "https://www.freelancer.in/support/Payments/project-fees",
        {"rate": "0.03", "minimum": 300},
        {10000: 300, 9999: 300, 300: 300},
    ),
    Published(
        "Guru, arbitration: 5 % of the money held, at least $25; $1,000 pays $50",
        "https://www.guru.com/help/employer-help-center/disputes-gurus/arbitration/",
        {"rate": "0.05", "minimum": 2500},
        {100000: 5000},
    ),
    Published(
        "Kickstarter: 5 % of $10,000 is $500",
        "https://help-center.atlasbeta.so/getatlas-4smqrc896u/articles/816786-understanding-kickstarter-fees"
        "-and-payment-processing",
        {"rate": "0.05"},
        {1000000: 50000},
    ),
    Published(
        "Fiverr, the seller's side: 20 % of $100 is $20",
        "https://www.aaaenos.com/en/fiverr-buyer-and-seller-fees/",
        {"rate": "0.20"},
        {10000: 2000},
    ),
    Published(
        "Amazon: 15 % of a $40 item is $6.00, with a minimum of $0.30",
        "https://sellervault.io/glossary/referral-fee",
        {"rate": "0.15", "minimum": 30},
        {4000: 600},
    ),
)  # fmt: skip

# What the payer pays in all, where a platform adds its fee on the buyer's side.
ADDED: Final = (
    Published(
        "Patreon: 5 % + $0.30 make a pledge of $10 $10.80 and one of $1 $1.35",
        "https://patreon.zendesk.com/hc/en-us/articles/115000846443-Credit-card-processing-fee-changes",
        {"rate": "0.05", "fixed": 30},
        {1000: 1080, 100: 135},
    ),
    Published(
        "Fiverr: 5.5 % of $100 make $105.50",
        "https://onlinejobsreveiws.co.ke/fiverr-buyer-fees-calculator/",
        {"rate": "0.055"},
        {10000: 10550},
    ),
    Published(
        "Fiverr, small orders: 5.5 % of $50 and $2.50 are a fee of $5.25",
        "https://randomness.app/fiverr-fee-calculator/",
        {"rate": "0.055", "fixed": 250},
        {5000: 5525},
    ),
    Published(
        "Airbnb, the guest's side: 14 % of $700 make $798, of $500 $570",
        "https://strhost.tools/airbnb-fee-calculator and https://listings.gostudiom.com/tools/fee-calculator",
        {"rate": "0.14"},
        {70000: 79800, 50000: 57000},
    ),
    Published(
        "Bonhams 2016: 25 % to GBP 100,000, 20 % to 2m, 12 % above make GBP 125,000 of 100,000",
        "https://cdn.antiquestradegazette.com/news/2016/bonhams-increase-buyer-s-premium-thresholds/",
        graduated((0, "0.25"), (10000000, "0.20"), (200000000, "0.12")),
        {10000000: 12500000},
        "GBP",
    ),
    Published(
        "Bonhams before 2016: 25 % to GBP 50,000, 20 % to 1m, 12 % above made GBP 122,500 of 100,000",
        "https://cdn.antiquestradegazette.com/news/2016/bonhams-increase-buyer-s-premium-thresholds/",
        graduated((0, "0.25"), (5000000, "0.20"), (100000000, "0.12")),
        {10000000: 12250000},
        "GBP",
    ),
    Published(
        "An auction: 15 % of $720 are $108, $828 in all",
        "https://auctionbidme.com/892-2/",
        {"rate": "0.15"},
        {72000: 82800},
    ),
    Published(
        "An auction: 24 % of $100 make $124",
        "https://ozbid.com.au/?faq_buying=what-is-the-buyers-premium",
        {"rate": "0.24"},
        {10000: 12400},
    ),
)


def usd(amount: int) -> Money:
    """Cents of the dollar."""
    return Money(amount, "USD")


@pytest.mark.parametrize("case", TABLES, ids=lambda case: case.name)
def test_a_published_fee_taken_from_the_seller(case: Published) -> None:
    for amount, fee in case.fees.items():
        division = divisions.release(Money(amount, case.currency), a_fee(**case.rule))
        assert parts(division) == (fee, amount - fee, 0), case.source


@pytest.mark.parametrize("case", ADDED, ids=lambda case: case.name)
def test_a_published_fee_added_on_the_buyers_side(case: Published) -> None:
    for amount, total in case.fees.items():
        in_force = Policies(fees=FeePolicy(rules=(a_rule(**case.rule, payer="buyer"),)), fees_version=1)
        division = quote(in_force, "release", "*", Money(amount, case.currency)).division
        assert division.total == Money(total, case.currency), case.source
        assert parts(division) == (total - amount, amount, 0), case.source


def test_ebay_stores_each_bands_own_part() -> None:
    """10 % to $25 (2.50), 7 % to $100 (5.25), 5 % to $1,000 (45.00).

    Source: eBay's table, kept at http://thechipboard.com/archives/archives.pl/bid/318/md/read/id/685469.
    """
    for before, amount, own in ((0, 2500, 250), (2500, 7500, 525), (10000, 90000, 4500)):
        standing = Standing(usd(100000), usd(before), usd(0))
        fee = Fee(a_rule(**graduated(*EBAY_STORE)), 1, standing)
        assert fee.on(usd(amount)) == usd(own)


def test_upwork_counts_what_was_billed_before() -> None:
    """After $500 with a client the next $100 pay 10 %, as the last $100 of the $600 project do.

    Source: https://support.upwork.com/hc/en-us/articles/211062538-Freelancer-Service-Fees.
    """
    by_volume = a_rule(tiers=tiers("graduated", "party_volume", list(UPWORK)))
    fees = [Fee(by_volume, 1, Standing(usd(60000), usd(0), usd(before))) for before in (0, 50000)]
    assert [fees[0].on(usd(50000)).amount, fees[1].on(usd(10000)).amount] == [10000, 1000]


def test_paymongo_takes_the_fee_first_and_splits_the_rest() -> None:
    """PHP 100.00: fee 2.50, and 48.75 for each of two recipients.

    Source: https://developers.paymongo.com/docs/refunding-a-split-payment.
    """
    division = divisions.split(Money(10000, "PHP"), a_fee("0.025", outcome="split"), Decimal("0.5"))
    assert parts(division) == (250, 4875, 4875)


def test_paymongo_takes_a_partial_refund_back_in_proportion() -> None:
    """Of PHP 50.00 returned out of 100.00 the recipient of 48.75 bears 24.38.

    Source: https://developers.paymongo.com/docs/refunding-a-split-payment.
    """
    back = divisions.clawback(Money(10000, "PHP"), Money(4875, "PHP"), Money(0, "PHP"), Money(5000, "PHP"))
    assert back.fee_returned == Money(2438, "PHP")


def test_guru_shares_what_arbitration_leaves() -> None:
    """$1,000 less the fee of $50 leaves $950 to award, here all to the seller.

    Source: https://www.guru.com/help/employer-help-center/disputes-gurus/arbitration/.
    """
    fee = a_fee("0.05", minimum=2500, outcome="split")
    assert parts(divisions.split(usd(100000), fee, Decimal(1))) == (5000, 95000, 0)


def test_paypal_returns_the_variable_fee_of_a_partial_refund() -> None:
    """$40 of $100 returned: 40 % of the variable $2.90 is $1.16.

    Source: PayPal's help, kept at
    http://fringe.davesource.com/Fringe/Hacking/Hacks/Paypal-Fixed-Transaction-Fee.html.
    """
    assert divisions.clawback(usd(10000), usd(290), usd(0), usd(4000)) == Clawback(usd(116), usd(3884))


def test_square_and_stripe_return_the_application_fee_in_proportion() -> None:
    """Of a $2.00 fee on $20.00 a refund of $15.00, 75 %, returns the same proportion, a full one all of it.

    Source: https://developer.squareup.com/docs/payments-api/collect-fees/payment-with-app-fee-refund; the same rule at
    https://docs.stripe.com/changelog/2013-12-03/application-fee-refunds-proportional-charged-amount.
    """
    assert divisions.clawback(usd(2000), usd(200), usd(0), usd(1500)).fee_returned == usd(150)
    assert divisions.clawback(usd(2000), usd(200), usd(0), usd(2000)).fee_returned == usd(200)


def test_upwork_arbitration_costs_each_side_the_same() -> None:
    """$291 of the client and $291 of the freelancer.

    Source: https://community.upwork.com/t5/New-to-Upwork/arbitration-fee/m-p/369333.
    """
    held = divisions.split(usd(200000), a_fee("0", outcome="split"), Decimal("0.5"))
    charge = assess(DisputeFee(amount=58200, payer="split"), held)
    assert (charge.seller_taken, charge.buyer_taken) == (usd(29100), usd(29100))


TEN: Final = a_fee("0.10")


@pytest.mark.parametrize(
    ("where", "division", "expected"),
    [
        ("4, release M1", divisions.release(eur(150000), TEN), (15000, 135000, 0)),
        ("4, cancel", divisions.refund(eur(150000), a_fee("0", outcome="refund")), (0, 0, 150000)),
        ("5, release", divisions.release(eur(150000), TEN), (15000, 135000, 0)),
        ("5, split", divisions.split(eur(100000), TEN, Decimal("0.7")), (10000, 63000, 27000)),
        ("5, partial refund", divisions.partial_refund(eur(100000), TEN, eur(40000)), (6000, 54000, 40000)),
        ("5, reversal", divisions.reversal(eur(0), eur(50000), a_fee("0", outcome="reversal")), (0, 0, 50000)),
        ("5, the later release", divisions.release(eur(50000), TEN), (5000, 45000, 0)),
        ("5, graduated tiers", divisions.release(eur(60000), a_fee(**graduated(*TWO_BANDS))), (11000, 49000, 0)),
    ],
)
def test_the_specifications_own_numbers(where: str, division: Division, expected: tuple[int, int, int]) -> None:
    assert parts(division) == expected, f"domain.md, section {where}"


def test_the_specifications_reversal_projects_what_is_gone() -> None:
    """domain.md, section 5: 5000 of pending revenue and 45000 of pending earnings of 50000 out of 100000."""
    gone = divisions.projection(eur(100000), eur(50000), TEN)
    assert (gone.fee_returned.amount, gone.payout_reduced.amount) == (5000, 45000)
