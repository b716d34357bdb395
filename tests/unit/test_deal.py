"""Deal files: what they mean."""

from datetime import date, timedelta
from pathlib import Path
from typing import Final

import pytest

from models.commands import Actor
from models.decide import PLATFORM_COMMANDS
from models.fee_policies import FeePolicy
from models.payout_terms import PayoutTerms
from models.policies import CompliancePolicy, DisputePolicy, ReleasePolicy, VerifiedAbove
from starter.deals.deal import Deal, load
from starter.deals.runs import Changes
from starter.deals.telling import told
from starter.deals.written import ACTIONS, References, meant
from tests.deal_files import GOOD, LAST, Write, deal_file, message

EXAMPLES: Final = Path(__file__).parents[2] / "examples"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a deal file."""
    monkeypatch.chdir(tmp_path)
    return deal_file


def test_amounts_never_pass_through_a_float(write: Write) -> None:
    """1500.10 is 150010 minor units, however YAML would like to read it."""
    deal = load(write(GOOD))
    create = _create(deal)
    assert create.amount == 150010
    assert [one.amount for one in create.milestones] == [50010, 100000]


def test_the_agreement_comes_first_unless_the_file_says_when(write: Write) -> None:
    """The buyer's ``create`` is implied; an action ``create`` takes its place."""
    assert [action.do for action in load(write(GOOD)).actions] == ["create", "top_up", "submit_milestone"]
    explicit = GOOD.replace(LAST, "  - {actor: platform, do: create}\n")
    actions = load(write(explicit)).actions
    assert [(action.do, action.actor and action.actor.role) for action in actions][1] == ("create", "platform")


def test_every_command_of_the_table_can_be_played(write: Write) -> None:
    """A row of the command table is an action of deal files, with the command's own fields."""
    assert {row.name for row in PLATFORM_COMMANDS} <= ACTIONS.keys()
    story = GOOD.replace(LAST, EVERYTHING)
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
    deal = load(write(GOOD.replace(LAST, amend + "  - {actor: bob, do: submit_milestone, milestone: All of it}\n")))
    assert told(deal.actions[-1], "EUR") == "bob: submit_milestone 1"
    assert "there is no milestone '2'" in message(write(GOOD.replace(LAST, amend + LAST)))


def test_milestones_go_by_the_names_that_they_were_given_later(write: Write) -> None:
    """``add_milestone`` makes one more name known, ``change_milestone`` another in place of the old one."""
    change = "  - {actor: alice, do: change_milestone, milestone: 1, title: Drafts, amount: 400}\n"
    add = "  - {actor: alice, do: add_milestone, title: Poster, amount: 100}\n"
    end = "  - {actor: bob, do: submit_milestone, milestone: %s}\n"
    for name, number in {"Drafts": 1, "Final": 2, "Poster": 3}.items():
        deal = load(write(GOOD.replace(LAST, change + add + end % name)))
        assert told(deal.actions[-1], "EUR") == f"bob: submit_milestone {number}"
    assert "there is no milestone 'Sketches'" in message(write(GOOD.replace(LAST, change + end % "Sketches")))
    refused = add.replace("}", ", expect: {refused: invalid_command}}")
    assert "there is no milestone 'Poster'" in message(write(GOOD.replace(LAST, refused + end % "Poster")))


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


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_examples_can_be_read(file: Path) -> None:
    """What the documentation shows is what the program reads, and has nothing to remark on."""
    deal = load(file)
    assert deal.actions
    assert deal.remarks == ()


def test_a_band_begins_from_an_amount_of_the_deal(write: Write) -> None:
    """In major units, as every amount of a file."""
    tiers = "{mode: graduated, basis: deal_amount, bands: [{from: 0, rate: 0.2}, {from: 500.50, rate: 0.1}]}"
    fees = f"policies: {{fees: {{rules: [{{outcome: release, fixed: 0.30, tiers: {tiers}}}]}}}}\n"
    policy = load(write(GOOD.replace("escrow:\n", f"{fees}escrow:\n"))).policies["fees"]
    assert isinstance(policy, FeePolicy)
    assert policy.rules[0].fixed == 30
    assert policy.rules[0].tiers is not None
    assert [band.start for band in policy.rules[0].tiers.bands] == [0, 50050]


def test_every_kind_of_policy_can_be_written(write: Write) -> None:
    """Dispute windows, limits of compliance and payout terms as well, with the models' own words."""
    policies = """\
policies:
  release: {payout: {trigger: time, clearance: P7D, minimum: 20}, max_rate_age: P3D}
  dispute: {response_window: P10D, default_outcome: buyer_favor}
  compliance: {verified_above: {funding: 1000, payout: 500.50}}
escrow:
"""
    written = load(write(GOOD.replace("escrow:\n", policies))).policies
    assert written == {
        "release": ReleasePolicy(
            payout=PayoutTerms(trigger="time", clearance=timedelta(days=7), minimum=2000),
            max_rate_age=timedelta(days=3),
        ),
        "dispute": DisputePolicy(response_window=timedelta(days=10), default_outcome="buyer_favor"),
        "compliance": CompliancePolicy(verified_above=VerifiedAbove(funding=100000, payout=50050)),
    }


def test_a_tenant_s_own_template_makes_milestones(write: Write) -> None:
    """They can be named by their titles before anything runs."""
    own = (
        "templates: [{name: logo, milestones: [{title: Draft, percent: 40, days: -3}, {title: Print, percent: 60}]}]\n"
    )
    agreed = "  milestones:\n    - {title: Sketches, amount: 500.10}\n    - {title: Final, amount: 1000}\n"
    text = GOOD.replace("escrow:\n", f"{own}escrow:\n").replace(agreed, "  template: logo\n  event_date: 2026-06-15\n")
    deal = load(write(text.replace("milestone: 2", "milestone: Print")))
    assert [one.name for one in deal.templates] == ["logo"]
    assert told(deal.actions[-1], "EUR") == "bob: submit_milestone 2"


def test_a_rate_is_of_the_day_of_the_run_unless_the_file_says(write: Write) -> None:
    """And the file is its source."""
    rates = "rates: [{base: EUR, quote: USD, rate: 1.08}, {base: USD, quote: THB, rate: 36, as_of: 2026-01-02}]\n"
    deal = load(write(GOOD.replace("escrow:\n", f"{rates}escrow:\n")))
    told_of = [str(deal.rate(one, date(2026, 11, 21))) for one in deal.rates]
    assert told_of == ["1 EUR = 1.08 USD of 2026-11-21 (deal.yaml)", "1 USD = 36 THB of 2026-01-02 (deal.yaml)"]


def test_what_the_marketplace_changes_is_told_in_short(write: Write) -> None:
    """By the platform, without what is nobody's business."""
    story = """\
  - {do: change_policy, fees: {rules: [{outcome: release, rate: 0.1}]}, dispute: {response_window: P3D}}
  - {do: change_party, party: bob, kyc_status: verified, name: Bob, email: bob@example.com}
  - {do: block_party, party: bob, because: Fraud.}
  - {do: block_party, party: bob, because: null}
  - {do: change_rate, base: EUR, quote: USD, rate: 1.1}
"""
    actions = load(write(GOOD.replace(LAST, story))).actions
    assert [told(action, "EUR") for action in actions[2:]] == [
        "platform: change_policy fees dispute",
        "platform: change_party bob verified",
        "platform: block_party bob",
        "platform: unblock_party bob",
        "platform: change_rate EUR USD 1.1",
    ]


EVERYTHING: Final = """\
  - {actor: alice, do: amend, title: A better logo}
  - {actor: bob, do: change_milestone, milestone: 2, amount: 900}
  - {actor: bob, do: add_milestone, title: Poster, amount: 100, due: 2026-12-01}
  - {actor: alice, do: fund, source: gateway, payment_method: pm_card_visa}
  - {actor: bob, do: start_work}
  - {actor: bob, do: submit_milestone, milestone: 1, evidence: [{name: Sketch, url: "https://example.com/1"}]}
  - {actor: bob, do: withdraw_submission, milestone: 1}
  - {actor: alice, do: reject_milestone, milestone: Sketches, reason: Too blue.}
  - {actor: bob, do: reverse_milestone, milestone: 1, amount: 0.10, reason: Less work.}
  - {actor: alice, do: approve_milestone, milestone: 1}
  - {actor: alice, do: dispute, reason: Late, description: Very late., milestones: [1, Final]}
  - {actor: olga, do: review_dispute}
  - {actor: bob, do: add_evidence, statement: It was ready in time.}
  - {actor: olga, do: resolve_dispute, resolution: partial_refund, refund_amount: 0.01, details: So be it.}
  - {actor: olga, do: close_dispute}
  - {actor: bob, do: request_payout, payout: 1}
  - {actor: bob, do: retry_payout, payout: 1, destination: acct_other}
  - {actor: olga, do: open_chargeback, reference: du_1, amount: 100}
  - {actor: olga, do: close_chargeback, outcome: won}
  - {actor: alice, do: complete}
  - {actor: bob, do: refund, amount: 1, expect: {refused: invalid_transition}}
  - {actor: alice, do: cancel, expect: {refused: invalid_transition}}
  - {do: change_policy, dispute: {response_window: P3D}}
  - {do: change_party, party: bob, language: th}
  - {do: block_party, party: bob, because: A name on a list.}
  - {do: change_rate, base: EUR, quote: USD, rate: 1.1}
  - {do: advance_clock, by: PT1H}
"""


def test_what_a_run_changed_in_mid_story_it_changes_once(tmp_path: Path) -> None:
    """But for the last change that was begun: whether it was made nobody knows, and making it again is harmless."""
    changes = Changes(tmp_path / "changes")
    assert changes.begun == 0
    assert [changes.begin(number) for number in (1, 2)] == [True, True]
    again = Changes(tmp_path / "changes")
    assert again.begun == 2
    assert [again.begin(number) for number in (1, 2, 3)] == [False, True, True]


def _create(deal: Deal):  # type: ignore[no-untyped-def]  # what it creates is said where it is used
    return deal.create(f"ten_{'0' * 26}", Actor(role="buyer", party="alice"), id="c", escrow=f"esc_{'0' * 26}")
