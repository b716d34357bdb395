"""Deal files: what they mean, and what a person is told who wrote one wrongly."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from models.commands import Actor
from models.decide import PLATFORM_COMMANDS
from starter.deals.deal import Deal, load
from starter.deals.deal_text import DealFileError
from starter.deals.telling import told
from starter.deals.written import ACTIONS, ESCROW, References, meant

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
COMMANDS: Final = ", ".join(ACTIONS)

GOOD: Final = """\
title: A logo
tenant: {name: Studio}
parties:
  alice:
  bob: {payout_destination: acct_bob}
operators: [olga]
escrow:
  buyer: alice
  seller: bob
  amount: 1500.10
  currency: EUR
  milestones:
    - {title: Sketches, amount: 500.10}
    - {title: Final, amount: 1000}
actions:
  - {actor: alice, do: top_up, amount: 1500.10}
  - {actor: bob, do: submit_milestone, milestone: 2}
"""
_LAST: Final = "  - {actor: bob, do: submit_milestone, milestone: 2}\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a deal file in the current directory, so that messages name it by a short path."""
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        file = Path("deal.yaml")
        file.write_text(text, encoding="utf-8")
        return file

    return written


def test_amounts_never_pass_through_a_float(write: Write) -> None:
    """1500.10 is 150010 minor units, however YAML would like to read it."""
    deal = load(write(GOOD))
    create = _create(deal)
    assert create.amount == 150010
    assert [one.amount for one in create.milestones] == [50010, 100000]


def test_the_agreement_comes_first_unless_the_file_says_when(write: Write) -> None:
    """The buyer's ``create`` is implied; an action ``create`` takes its place."""
    assert [action.do for action in load(write(GOOD)).actions] == ["create", "top_up", "submit_milestone"]
    explicit = GOOD.replace(_LAST, "  - {actor: platform, do: create}\n")
    actions = load(write(explicit)).actions
    assert [(action.do, action.actor and action.actor.role) for action in actions][1] == ("create", "platform")


def test_every_command_of_the_table_can_be_played(write: Write) -> None:
    """A row of the command table is an action of deal files, with the command's own fields."""
    assert {row.name for row in PLATFORM_COMMANDS} <= ACTIONS.keys()
    story = GOOD.replace(_LAST, EVERYTHING)
    assert {action.do for action in load(write(story)).actions} == ACTIONS.keys()


@pytest.mark.parametrize("name", ["2", "Final", '"2"'])
def test_a_milestone_goes_by_number_or_title(write: Write, name: str) -> None:
    """Both lead to the milestone's id once the escrow has one."""
    deal = load(write(GOOD.replace("milestone: 2", f"milestone: {name}")))
    action = deal.actions[-1]
    assert action.command is not None
    ids = ("mil_00000000000000000000000001", "mil_00000000000000000000000002")
    command = meant(
        action.command, action.said, References("ten_0", ids), id="c", escrow=f"esc_{'0' * 26}", actor=action.actor
    )
    assert command.model_dump()["milestone"] == ids[1]


def test_milestones_that_were_agreed_anew_have_their_new_names(write: Write) -> None:
    """After ``amend`` the numbers and titles are those of the new agreement."""
    amend = "  - {actor: alice, do: amend, milestones: [{title: All of it, amount: 1500.10}]}\n"
    deal = load(write(GOOD.replace(_LAST, amend + "  - {actor: bob, do: submit_milestone, milestone: All of it}\n")))
    assert told(deal.actions[-1], "EUR") == "bob: submit_milestone 1"
    assert "there is no milestone '2'" in _message(write(GOOD.replace(_LAST, amend + _LAST)))


def test_a_template_s_milestones_go_by_their_thai_titles() -> None:
    """The wedding names one milestone by number, one in English and one in Thai."""
    deal = load(EXAMPLES / "wedding.yaml")
    assert "garden-hall: submit_milestone 2" in [told(action, "THB") for action in deal.actions]
    assert "mali: approve_milestone 2" in [told(action, "THB") for action in deal.actions]


def test_comments_do_not_change_a_deal_but_words_do(write: Write) -> None:
    """The digest, by which a resumed run is known to be of the same deal, is that of the meaning."""
    digest = load(write(GOOD)).digest
    assert load(write(f"# A comment.\n{GOOD}\n")).digest == digest
    assert load(write(GOOD.replace("Final", "Last"))).digest != digest


def test_the_clock_moves_by_durations(write: Write) -> None:
    """ISO 8601, in whole seconds."""
    deal = load(write(GOOD + "  - {do: advance_clock, by: P1DT12H}\n"))
    assert deal.actions[-1].moves_clock_by == timedelta(hours=36)
    assert told(deal.actions[-1], "EUR") == "advance_clock 36 hours"
    assert deal.actions[0].moves_clock_by == timedelta(0)


@pytest.mark.parametrize("name", ["website-redesign", "wedding", "cancelled-half-way"])
def test_the_examples_can_be_read(name: str) -> None:
    """What the documentation shows is what the program reads."""
    assert load(EXAMPLES / f"{name}.yaml").actions


EVERYTHING: Final = """\
  - {actor: alice, do: amend, title: A better logo}
  - {actor: alice, do: fund, source: gateway, payment_method: pm_card_visa}
  - {actor: bob, do: start_work}
  - {actor: bob, do: submit_milestone, milestone: 1, evidence: [{name: Sketch, url: "https://example.com/1"}]}
  - {actor: alice, do: reject_milestone, milestone: Sketches, reason: Too blue.}
  - {actor: bob, do: reverse_milestone, milestone: 1, amount: 0.10, reason: Less work.}
  - {actor: alice, do: approve_milestone, milestone: 1}
  - {actor: alice, do: dispute, reason: Late, description: Very late., milestones: [1, Final]}
  - {actor: olga, do: review_dispute}
  - {actor: olga, do: resolve_dispute, resolution: partial_refund, refund_amount: 0.01, details: So be it.}
  - {actor: bob, do: retry_payout, payout: 1, destination: acct_other}
  - {actor: alice, do: complete}
  - {actor: bob, do: refund, amount: 1, expect: {refused: invalid_transition}}
  - {actor: alice, do: cancel, expect: {refused: invalid_transition}}
  - {do: advance_clock, by: PT1H}
"""

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
        (_LAST, "  - fund\n"),
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
        (_LAST, "  - {do: advance_clock, by: 14}\n"),
        "deal.yaml:17:29: by: expected a duration such as P14D, found '14'",
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
        (_LAST, "  - {actor: alice, do: dispute, reason: Late}\n  - {actor: olga, do: review_dispute}\n"),
        "deal.yaml:17:5: missing key 'description'",
    ),
    "a partial refund of nothing": (
        (_LAST, _DISPUTE + "  - {actor: olga, do: resolve_dispute, resolution: partial_refund, details: x}\n"),
        "deal.yaml:18:52: resolution partial_refund needs refund_amount",
    ),
    "a split without a share": (
        (_LAST, _DISPUTE + "  - {actor: olga, do: resolve_dispute, resolution: split, details: x}\n"),
        "deal.yaml:18:52: resolution split needs seller_share",
    ),
    "a share of what is not split": (
        (
            _LAST,
            _DISPUTE + "  - {actor: olga, do: resolve_dispute, resolution: mediation, seller_share: 0, details: x}\n",
        ),
        "deal.yaml:18:52: resolution mediation does not take seller_share",
    ),
    "a currency without a rate": (
        ("{name: Studio}", "{name: Studio, reporting_currency: USD}"),
        (
            "deal.yaml:2:44: the escrow is in EUR, and there are no exchange rates yet (docs/decisions/0009): every "
            "settlement would be refused with exchange_rate_unavailable. Write EUR, or leave this key out"
        ),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(write: Write, mistake: str) -> None:
    """File, line and column; then what is wrong, and what would be right."""
    (right, wrong), message = MISTAKES[mistake]
    assert right in GOOD
    assert _message(write(GOOD.replace(right, wrong))) == message


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
    assert load(write(GOOD.replace(_LAST, f"  - {{{refused}}}\n"))).actions[-1].refusal


def test_a_story_may_be_about_a_missing_exchange_rate(write: Write) -> None:
    """Then the tenant can report in another currency."""
    story = _LAST + "  - {actor: alice, do: complete, expect: {refused: exchange_rate_unavailable}}\n"
    text = GOOD.replace("{name: Studio}", "{name: Studio, reporting_currency: USD}")
    assert load(write(text.replace(_LAST, story))).reporting_currency == "USD"


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
    text = GOOD.replace(_LAST, "  - {actor: alice, do: dispute, reason: Late, description: Slow, milestones: [2]}\n")
    assert told(load(write(text)).actions[-1], "EUR") == "alice: dispute 2"


def test_a_title_that_two_milestones_have_names_neither(write: Write) -> None:
    """The number always does."""
    text = GOOD.replace("Sketches", "Final").replace("milestone: 2", "milestone: Final")
    assert _message(write(text)) == (
        'deal.yaml:17:51: milestone: several milestones are called \'Final\'; the escrow has 1 "Final", 2 "Final"'
    )


def test_several_mistakes_are_told_at_once(write: Write) -> None:
    """In the order of the file, one per line."""
    text = GOOD.replace("amount: 500.10", "amount: x").replace("name: Studio", "nam: Studio")
    places = [line.split(": ")[0] for line in _message(write(text)).splitlines()]
    assert places == ["deal.yaml:2:10", "deal.yaml:13:33"]


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_what_is_no_deal_at_all_is_told(write: Write, text: str, message: str) -> None:
    """Whatever a file contains, the answer is a message."""
    assert _message(write(text)) == message


def test_what_is_no_file_is_told(write: Write, tmp_path: Path) -> None:
    """A missing file, a directory, and what is no text."""
    assert _message(Path("nowhere.yaml")) == "nowhere.yaml: there is no such file"
    assert _message(tmp_path) == f"{tmp_path}: this is a directory: a deal file was expected"
    Path("deal.yaml").write_bytes(b"title: caf\xe9\n")
    assert _message(Path("deal.yaml")) == "deal.yaml:1:1: not UTF-8 text"


def _create(deal: Deal):  # type: ignore[no-untyped-def]  # what it creates is said where it is used
    return deal.create(f"ten_{'0' * 26}", Actor(role="buyer", party="alice"), id="c", escrow=f"esc_{'0' * 26}")


def _message(file: Path) -> str:
    with pytest.raises(DealFileError) as raised:
        load(file)
    return str(raised.value)
