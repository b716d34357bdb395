"""What a person is told who wrote a deal file wrongly, or may not have noticed something."""

from pathlib import Path
from typing import Final

import pytest

from models.durations import EXPECTED
from starter.deals.deal import load
from starter.deals.telling import told
from starter.deals.written import ACTIONS, ESCROW
from tests.deal_files import GOOD, LAST, Write, deal_file, message

COMMANDS: Final = ", ".join(ACTIONS)
_LATE_BANDS: Final = """\
policies:
  fees: {rules: [{outcome: release, tiers: {mode: graduated, basis: deal_amount, bands: [{from: 1, rate: 0}]}}]}
escrow:
"""

_MILESTONES: Final = "  milestones:\n    - {title: Sketches, amount: 500.10}\n    - {title: Final, amount: 1000}\n"
_TEMPLATE: Final = "  event_date: 2026-06-15\n  template: "
_DISPUTE: Final = "  - {actor: alice, do: dispute, reason: Late, description: Very late.}\n"
# What is written instead of what, and what the person is told.
MISTAKES: Final = {
    "unknown key": (
        ("amount: 1500.10\n  currency", "ammount: 1500.10\n  currency"),
        "deal.yaml:10:3: unknown key 'ammount' (did you mean 'amount'?); allowed here: "
        + ", ".join(ESCROW.model_fields),
    ),
    "missing key": (("title: A logo\n", ""), "deal.yaml:1:1: missing key 'title'"),
    "duplicate key": (
        ("  seller: bob\n", "  seller: bob\n  seller: carol\n"),
        "deal.yaml:10:3: key 'seller' is here twice: it was already set in line 9",
    ),
    "too many decimals": (
        ("amount: 500.10", "amount: 500.105"),
        "deal.yaml:13:33: amount: 500.105 has more decimals than EUR allows (2)",
    ),
    "no amount": (
        ("amount: 500.10", "amount: 1e3"),
        "deal.yaml:13:33: amount: '1e3' is not an amount: expected digits with an optional decimal point, like 1500.00",
    ),
    "nothing": (
        ("amount: 500.10", "amount: 0"),
        "deal.yaml:13:33: amount: 0 is out of range: an amount is from 0.01 EUR to 10,000,000,000,000.00 EUR",
    ),
    "unknown currency": (
        ("currency: EUR", "currency: EURO"),
        "deal.yaml:11:13: currency: unknown currency 'EURO': expected an ISO 4217 code such as EUR, USD or JPY",
    ),
    "unknown seller": (
        ("seller: bob", "seller: zed"),
        "deal.yaml:9:11: unknown party 'zed': parties has alice, bob",
    ),
    "buyer is seller": (
        ("seller: bob", "seller: alice"),
        "deal.yaml:8:3: buyer and seller must be two different parties",
    ),
    "unknown actor": (
        ("actor: bob", "actor: zed"),
        "deal.yaml:17:13: actor: 'zed' is nobody who can act in this deal: there are alice, bob, olga, platform",
    ),
    "unknown action": (
        ("do: submit_milestone", "do: submit"),
        f"deal.yaml:17:22: unknown action 'submit' (did you mean 'submit_milestone'?); there are {COMMANDS}",
    ),
    "no action": (("do: top_up, ", ""), f"deal.yaml:16:5: missing key 'do'; there are {COMMANDS}"),
    "not an action": (
        (LAST, "  - fund\n"),
        f"deal.yaml:17:5: expected an action such as {{actor: alice, do: fund}}; there are {COMMANDS}",
    ),
    "milestone out of range": (
        ("milestone: 2", "milestone: 3"),
        'deal.yaml:17:51: milestone: there is no milestone \'3\'; the escrow has 1 "Sketches", 2 "Final"',
    ),
    "more than agreed": (
        ("amount: 1000}", "amount: 1001}"),
        "deal.yaml:8:3: the milestones sum to 1,501.10 EUR, which is more than the escrow's amount of 1,500.10 EUR",
    ),
    "four milestones": (
        ("    - {title: Final, amount: 1000}\n", "    - {title: Final, amount: 1}\n" * 3),
        "deal.yaml:8:3: Maximum 3 milestones allowed per project",
    ),
    "wrong type": (
        ("operators: [olga]", "operators: olga"),
        "deal.yaml:6:12: operators: expected a list, found 'olga'",
    ),
    "not a mapping": (
        ("tenant: {name: Studio}", "tenant: Studio"),
        "deal.yaml:2:9: tenant: expected a mapping of keys to values, found 'Studio'",
    ),
    "not a date": (
        ("title: Final, ", "title: Final, due: tomorrow, "),
        "deal.yaml:14:27: due: expected a date such as 2026-06-15, found 'tomorrow'",
    ),
    "an operator who is a party": (
        ("operators: [olga]", "operators: [bob]"),
        "deal.yaml:6:13: 'bob' cannot be an operator and a party of the same deal",
    ),
    "not YAML": (
        ("  seller: bob\n", "  seller: [bob\n"),
        "deal.yaml:10:9: not YAML: while parsing a flow sequence, expected ',' or ']', but got ':'",
    ),
    "no dispute": (
        ("actor: bob, do: submit_milestone, milestone: 2", "actor: olga, do: review_dispute"),
        "deal.yaml:17:5: review_dispute needs a dispute: somebody has to raise one first, with do: dispute",
    ),
    "an operator's wallet": (
        ("actor: alice, do: top_up", "actor: olga, do: top_up"),
        "deal.yaml:16:13: only the buyer and the seller have a wallet to top up",
    ),
    "duration": (
        (LAST, "  - {do: advance_clock, by: 14}\n"),
        f"deal.yaml:17:29: by: {EXPECTED}",
    ),
    "a name that is an address": (
        ("  alice:\n", "  alice@example.com:\n"),
        "deal.yaml:4:3: 'alice@example.com': expected letters, digits and . _ : -; no e-mail address",
    ),
    "a rate in percent": (
        ("escrow:\n", "policies: {fees: {rules: [{outcome: release, rate: 8%}]}}\nescrow:\n"),
        'deal.yaml:7:52: rate: expected a decimal string such as "0.10": 8 % is "0.08"',
    ),
    "a rate above one": (
        ("escrow:\n", "policies: {fees: {rules: [{outcome: release, rate: 8}]}}\nescrow:\n"),
        "deal.yaml:7:52: rate: expected a share from 0 to 1, such as \"0.70\", found '8'",
    ),
    "another's command": (
        ("actor: bob, do: submit", "actor: alice, do: submit"),
        "deal.yaml:17:13: alice is the buyer: submit_milestone is for operator or seller",
    ),
    "a broken dispute, and only that": (
        (LAST, "  - {actor: alice, do: dispute, reason: Late}\n  - {actor: olga, do: review_dispute}\n"),
        "deal.yaml:17:5: missing key 'description'",
    ),
    "a partial refund of nothing": (
        (LAST, _DISPUTE + "  - {actor: olga, do: resolve_dispute, resolution: partial_refund, details: x}\n"),
        "deal.yaml:18:52: resolution partial_refund needs refund_amount",
    ),
    "a split without a share": (
        (LAST, _DISPUTE + "  - {actor: olga, do: resolve_dispute, resolution: split, details: x}\n"),
        "deal.yaml:18:52: resolution split needs seller_share",
    ),
    "a share of what is not split": (
        (
            LAST,
            _DISPUTE + "  - {actor: olga, do: resolve_dispute, resolution: mediation, seller_share: 0, details: x}\n",
        ),
        "deal.yaml:18:52: resolution mediation does not take seller_share",
    ),
    "an unknown status": (
        ("payout_destination: acct_bob", "kyc_status: ok"),
        "deal.yaml:5:21: kyc_status: expected 'none', 'pending', 'verified', 'rejected' or 'expired', found 'ok'",
    ),
    "an unknown language": (
        ("payout_destination: acct_bob", "language: thai"),
        "deal.yaml:5:19: language: expected 'en' or 'th', found 'thai'",
    ),
    "a card that is not named": (
        (LAST, "  - {actor: alice, do: fund, source: gateway}\n"),
        "deal.yaml:17:38: source gateway needs a payment_method",
    ),
    "a card that is not asked": (
        (LAST, "  - {actor: alice, do: fund, payment_method: pm_card_visa}\n"),
        "deal.yaml:17:5: source wallet does not take a payment_method",
    ),
    "no address": (
        ("payout_destination: acct_bob", "email: bob"),
        "deal.yaml:5:16: email: expected an address such as bob@example.com, found 'bob'",
    ),
    "a rate as a word": (
        ("escrow:\n", "rates: [{base: EUR, quote: USD, rate: one}]\nescrow:\n"),
        'deal.yaml:7:39: rate: expected a decimal string such as "1.08"',
    ),
    "a rate of nothing": (
        ("escrow:\n", "rates: [{base: EUR, quote: USD, rate: 0}]\nescrow:\n"),
        "deal.yaml:7:39: rate: a rate is above 0",
    ),
    "a rate beyond measure": (
        ("escrow:\n", "rates: [{base: EUR, quote: USD, rate: 9999999999999999999}]\nescrow:\n"),
        "deal.yaml:7:39: rate: a rate is at most 1000000000, found '9999999999999999999'",
    ),
    "a rate between one currency": (
        ("escrow:\n", "rates: [{base: EUR, quote: EUR, rate: 1}]\nescrow:\n"),
        "deal.yaml:7:28: a rate is between two currencies, and both are EUR",
    ),
    "a template that is built in": (
        ("escrow:\n", "templates: [{name: wedding, milestones: [{title: All, percent: 100}]}]\nescrow:\n"),
        "deal.yaml:7:20: template 'wedding' is built in: choose another name",
    ),
    "two templates of one name": (
        ("escrow:\n", "templates: [&a {name: x, milestones: [{title: All, percent: 100}]}, *a]\nescrow:\n"),
        "deal.yaml:7:23: there is a template 'x' above this one",
    ),
    "a template of less than all": (
        ("escrow:\n", "templates: [{name: x, milestones: [{title: All, percent: 99}]}]\nescrow:\n"),
        "deal.yaml:7:13: templates: the percentages of template 'x' sum to 99, not to 100",
    ),
    "a bad template, and only that": (
        (_MILESTONES, f"{_TEMPLATE}x\ntemplates: [{{name: x, milestones: [{{title: All, percent: 99}}]}}]\n"),
        "deal.yaml:14:13: templates: the percentages of template 'x' sum to 99, not to 100",
    ),
    "a good template that comes twice, and only that": (
        (_MILESTONES, f"{_TEMPLATE}x\ntemplates: [&a {{name: x, milestones: [{{title: All, percent: 100}}]}}, *a]\n"),
        "deal.yaml:14:23: there is a template 'x' above this one",
    ),
    "a template that is nowhere": (
        (_MILESTONES, f"{_TEMPLATE}rooms\ntemplates: [{{name: x, milestones: [{{title: All, percent: 100}}]}}]\n"),
        "deal.yaml:13:13: unknown template 'rooms': there are merit, party, wedding, x",
    ),
    "bands that do not begin at nothing": (
        ("escrow:\n", _LATE_BANDS),
        (
            "deal.yaml:8:9: fees: rules[0] (release/*): bands[0] begins at 100 instead of 0, so a smaller volume "
            "would have no rate"
        ),
    ),
    "a change of nobody": (
        (LAST, "  - {do: change_party, party: zed, kyc_status: verified}\n"),
        "deal.yaml:17:31: party: 'zed' is no party of this deal: parties has alice, bob",
    ),
    "a change of nothing": (
        (LAST, "  - {do: change_policy}\n"),
        "deal.yaml:17:5: change_policy changes nothing: give fees or release or dispute or spend or compliance",
    ),
    "a change by a party": (
        (LAST, "  - {actor: bob, do: change_party, party: bob, kyc_status: verified}\n"),
        (
            "deal.yaml:17:6: unknown key 'actor'; allowed here: do, party, name, email, language, kyc_status, "
            "payout_destination"
        ),
    ),
    "a block without a reason": (
        (LAST, "  - {do: block_party, party: bob}\n"),
        "deal.yaml:17:5: missing key 'because'",
    ),
    "a changed policy that is wrong": (
        (LAST, "  - {do: change_policy, fees: {rules: [{outcome: release}]}}\n"),
        (
            "deal.yaml:17:31: fees: rules[0] (release/*): rate, tiers or fixed is needed; "
            'for no fee at all write "rate": "0"'
        ),
    ),
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a deal file."""
    monkeypatch.chdir(tmp_path)
    return deal_file


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(write: Write, mistake: str) -> None:
    """File, line and column; then what is wrong, and what would be right."""
    (right, wrong), expected = MISTAKES[mistake]
    assert right in GOOD
    assert message(write(GOOD.replace(right, wrong))) == expected


@pytest.mark.parametrize(
    "refused",
    [
        "actor: alice, do: submit_milestone, milestone: 2, expect: {refused: forbidden}",
        (
            "actor: bob, do: dispute, reason: Late, description: x}\n"
            "  - {actor: olga, do: resolve_dispute, resolution: split, details: x, expect: {refused: invalid_command}"
        ),
    ],
)
def test_a_story_may_be_about_a_refusal_that_is_certain(write: Write, refused: str) -> None:
    """What the file expects is no mistake in it."""
    assert load(write(GOOD.replace(LAST, f"  - {{{refused}}}\n"))).actions[-1].refusal


def test_a_story_may_be_about_a_missing_exchange_rate(write: Write) -> None:
    """Then the tenant can report in another currency."""
    story = LAST + "  - {actor: alice, do: complete, expect: {refused: exchange_rate_unavailable}}\n"
    text = GOOD.replace("{name: Studio}", "{name: Studio, reporting_currency: USD}")
    deal = load(write(text.replace(LAST, story)))
    assert (deal.reporting_currency, deal.remarks) == ("USD", ())


@pytest.mark.parametrize(
    "rates",
    ["{base: EUR, quote: USD, rate: 1.1}", "{base: USD, quote: EUR, rate: 0.9}", "{base: THB, quote: EUR, rate: 1}"],
)
def test_a_currency_without_a_rate_is_remarked(write: Write, rates: str) -> None:
    """It is no mistake, since the installation may have one; a rate either way round is enough."""
    text = GOOD.replace("{name: Studio}", "{name: Studio, reporting_currency: USD}")
    remarks = load(write(text.replace("escrow:\n", f"rates: [{rates}]\nescrow:\n"))).remarks
    if "USD" in rates:
        assert remarks == ()
    else:
        assert remarks == (
            (
                "deal.yaml:2:44: the file has no rate from EUR to USD: every settlement is refused with "
                "exchange_rate_unavailable unless there is one already. Give it as rates: "
                "[{base: EUR, quote: USD, rate: ...}]"
            ),
        )


def test_what_its_writer_may_not_have_noticed_is_remarked(write: Write) -> None:
    """A seller who cannot be paid, and money that no milestone claims; a good deal has no remarks."""
    assert load(write(GOOD)).remarks == ()
    text = GOOD.replace("  bob: {payout_destination: acct_bob}", "  bob:").replace("amount: 1000}", "amount: 900}")
    seller, rest = sorted(load(write(text)).remarks, reverse=True)
    assert seller.startswith("deal.yaml:5:3: bob is the seller and has no account: payouts will fail")
    assert "payout_destination" in seller
    assert rest == "deal.yaml:10:11: 100.00 EUR belongs to no milestone; `complete` releases it"


def test_free_text_does_not_stand_beside_an_action(write: Write) -> None:
    """Whether it is one word or many."""
    text = GOOD.replace(LAST, "  - {actor: alice, do: dispute, reason: Late, description: Slow, milestones: [2]}\n")
    assert told(load(write(text)).actions[-1], "EUR") == "alice: dispute 2"


def test_a_title_that_two_milestones_have_names_neither(write: Write) -> None:
    """The number always does."""
    text = GOOD.replace("Sketches", "Final").replace("milestone: 2", "milestone: Final")
    assert message(write(text)) == (
        'deal.yaml:17:51: milestone: several milestones are called \'Final\'; the escrow has 1 "Final", 2 "Final"'
    )


def test_several_mistakes_are_told_at_once(write: Write) -> None:
    """In the order of the file, one per line."""
    text = GOOD.replace("amount: 500.10", "amount: x").replace("name: Studio", "nam: Studio")
    places = [line.split(": ")[0] for line in message(write(text)).splitlines()]
    assert places == ["deal.yaml:2:10", "deal.yaml:13:33"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "deal.yaml: the file is empty: a deal was expected"),
        ("# nothing\n", "deal.yaml: the file is empty: a deal was expected"),
        ("- a list\n", "deal.yaml:1:1: expected a mapping of keys to values, found a list"),
        ("title: &a [*a]\n", "deal.yaml:1:8: aliases that repeat without end"),
        ("[" * 1500, "deal.yaml: nested too deeply for a deal"),
        ("title: a\x01b\n", "deal.yaml: not YAML: unacceptable character #x0001: special characters are not allowed"),
        ("# \n" * 100_000, "deal.yaml: the file is larger than 256 KiB"),
        ("? [a]\n: b\n", "deal.yaml:1:3: a key must be plain text"),
    ],
)
def test_what_is_no_deal_at_all_is_told(write: Write, text: str, expected: str) -> None:
    """Whatever a file contains, the answer is a message."""
    assert message(write(text)) == expected


def test_what_is_no_file_is_told(write: Write, tmp_path: Path) -> None:
    """A missing file, a directory, and what is no text."""
    assert message(Path("nowhere.yaml")) == "nowhere.yaml: there is no such file"
    assert message(tmp_path) == f"{tmp_path}: this is a directory: a deal file was expected"
    Path("deal.yaml").write_bytes(b"title: caf\xe9\n")
    assert message(Path("deal.yaml")) == "deal.yaml:1:1: not UTF-8 text"
