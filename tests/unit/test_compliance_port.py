"""Objections that explain themselves, and providers that are asked about a party. Source: domain.md, section 12."""

import json
from pathlib import Path
from typing import Any

import pytest

from activities.screening_providers.blocklist import BlocklistProvider
from activities.screening_providers.declared import DeclaredProvider
from activities.screening_providers.port import ScreeningImpossibleError, ScreeningProvider, ScreeningUnavailableError
from models.compliance import objection_to_funding, objection_to_moving, objection_to_payout
from models.facts import KycStatus, Party
from models.policies import CompliancePolicy, VerifiedAbove
from models.screening import Screening, Subject, block_after
from settings import Settings
from tests.builders import eur, new_id
from worker import screening_provider

ABOVE_1000 = CompliancePolicy(verified_above=VerifiedAbove(funding=100000, payout=100000))
FROZEN = Party(kyc_status="verified", blocked_because="court order 7/26")
TENANT = new_id("ten")
OTHER = new_id("ten")


def subject(party: str = "bob", name: str | None = "Robert Roe", tenant: str = TENANT) -> Subject:
    """Somebody to ask about."""
    return Subject(tenant, party, name, "bob@example.org", "pending")


def listing(path: Path, *entries: dict[str, Any]) -> BlocklistProvider:
    """A provider that reads these entries."""
    path.write_text(json.dumps(entries))
    return BlocklistProvider(path)


def because(provider: ScreeningProvider, of: Subject) -> str | None:
    """Why the provider would have the party blocked."""
    return provider.screen(of).blocked_because


# The built-in rules ---------------------------------------------------------------------------------------------------


def test_an_objection_says_what_is_wrong_and_what_would_lift_it() -> None:
    """Three questions of a person whose money waits: who, why, and what now."""
    objection = objection_to_payout(ABOVE_1000, eur(135000), "bob", Party(kyc_status="expired"))
    assert objection is not None
    assert (objection.code, objection.party) == ("kyc", "bob")
    assert objection.reason == "above 1,000.00 EUR the seller has to be verified, and is expired"
    assert (
        objection.lifted_by == "bob being verified (kyc_status verified), or a threshold that is not below the amount"
    )
    blocked = objection_to_moving("buyer", "alice", FROZEN)
    assert blocked is not None
    assert blocked.reason == "the buyer is blocked, no money of the escrow moves: court order 7/26"
    assert blocked.lifted_by.startswith("unblocking alice: ")


@pytest.mark.parametrize("objection_to", [objection_to_funding, objection_to_payout])
@pytest.mark.parametrize("status", ["none", "pending", "rejected", "expired"])
def test_a_threshold_is_the_last_amount_that_needs_no_papers(objection_to: Any, status: KycStatus) -> None:
    """1,000.00 goes, 1,000.01 does not, and with papers or without a threshold everything does."""
    assert objection_to(ABOVE_1000, eur(100000), "bob", Party(kyc_status=status)) is None
    objection = objection_to(ABOVE_1000, eur(100001), "bob", Party(kyc_status=status))
    assert objection.refusal().refusal.details == {"party": "bob", "kyc_status": status, "verified_above": 100000}
    assert objection_to(ABOVE_1000, eur(100001), "bob", Party(kyc_status="verified")) is None
    assert objection_to(CompliancePolicy(), eur(100001), "bob", Party(kyc_status=status)) is None


def test_a_block_comes_before_papers_since_papers_would_not_lift_it() -> None:
    """Whatever the amount and the status; the refusal has the code of a block."""
    for amount in (1, 135000):
        objection = objection_to_payout(ABOVE_1000, eur(amount), "bob", FROZEN)
        assert objection is not None
        assert (objection.code, objection.reason) == ("blocked", "the seller is blocked: court order 7/26")
        assert objection.refusal().refusal.code == "party_blocked"
    assert objection_to_moving("seller", "bob", Party()) is None


# What a screening may change ------------------------------------------------------------------------------------------

CLEAR, LISTED = Screening(), Screening(blocked_because="on the list")
OWN = "screening (blocklist): on the list"


@pytest.mark.parametrize(
    ("current", "answer", "after"),
    [
        (None, CLEAR, None),
        (None, LISTED, OWN),
        (OWN, LISTED, OWN),
        (OWN, CLEAR, None),
        ("screening (blocklist): an older reason", LISTED, OWN),
        ("court order 7/26", CLEAR, "court order 7/26"),
        ("court order 7/26", LISTED, "court order 7/26"),
        ("screening (other): no", CLEAR, "screening (other): no"),
        (None, Screening(blocked_because=" "), "screening (blocklist): no reason given"),
    ],
)
def test_a_screening_lifts_the_block_of_its_own_provider_only(
    current: str | None, answer: Screening, after: str | None
) -> None:
    """What an operator or another provider blocked stays blocked until somebody lifts it by hand."""
    assert block_after(current, "blocklist", answer) == after


def test_what_is_personal_stays_out_of_logs() -> None:
    """A subject and an answer that are printed show ids, no names and no reasons."""
    shown = f"{subject()} {LISTED}"
    assert "bob" in shown
    assert not {"Robert", "example.org", "on the list"} & set(shown.replace("'", " ").split())
    assert "Robert" not in shown
    assert "on the list" not in shown


# The providers that are built in --------------------------------------------------------------------------------------


def test_without_a_provider_what_the_tenant_declared_stands() -> None:
    """No say in the status, nothing against anybody."""
    assert DeclaredProvider().screen(subject()) == Screening(kyc_status=None, blocked_because=None)


def test_the_setting_names_a_list_or_nobody() -> None:
    """Unset and empty mean that the tenant's word stands."""
    assert [screening_provider(Settings(blocklist=one)).name for one in (None, "", "/etc/list.csv")] == [
        "declared", "declared", "blocklist",
    ]  # fmt: skip


def test_a_party_is_listed_by_its_tenant_and_id(tmp_path: Path) -> None:
    """Another tenant's bob is somebody else."""
    provider = listing(tmp_path / "list", {"tenant": TENANT, "party": "bob", "reason": "chargeback fraud"})
    assert because(provider, subject(name=None)) == "chargeback fraud"
    assert because(provider, subject(name=None, tenant=OTHER)) is None
    assert because(provider, subject("carl")) is None


def test_a_name_is_listed_for_all_tenants_or_for_one(tmp_path: Path) -> None:
    """However it is written: case, width, composed letters and spaces do not hide anybody."""
    provider = listing(
        tmp_path / "list",
        {"name": "  Robert  ROE ", "reason": "sanctions"},
        {"name": "José Straße", "tenant": OTHER, "reason": "our own reasons"},
    )
    for name in ("Robert Roe", "robert\u00a0roe", "".join(chr(ord(one) + 0xFEE0) for one in "Robert") + " Roe"):
        assert because(provider, subject(name=name)) == "sanctions"
    assert because(provider, subject(name="jose\u0301 STRASSE", tenant=OTHER)) == "our own reasons"
    assert because(provider, subject(name="José Straße")) is None
    assert because(provider, subject(name="Roberta Roe")) is None
    assert because(provider, subject(name=None)) is None


def test_a_list_may_be_written_as_csv(tmp_path: Path) -> None:
    """With a header, as spreadsheets write it: a byte order mark, quotes, empty cells."""
    file = tmp_path / "list.csv"
    file.write_text(
        f'tenant,party,name,reason\r\n{TENANT},bob,,"fraud, in May"\r\n,,Jane Doe,sanctions\r\n', encoding="utf-8-sig"
    )
    provider = BlocklistProvider(file)
    assert because(provider, subject()) == "fraud, in May"
    assert because(provider, subject("jane", "jane doe")) == "sanctions"
    file.write_text("name,reason\n")
    assert because(provider, subject()) is None


def test_a_list_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    """Also when it has as many bytes as before: who is off the list is off it at once."""
    file = tmp_path / "list"
    provider = listing(file, {"name": "Robert Roe", "reason": "sanctions"})
    assert because(provider, subject()) == "sanctions"
    listing(tmp_path / "new", {"name": "Rachel Roe", "reason": "sanctions"})
    (tmp_path / "new").replace(file)
    assert because(provider, subject()) is None


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("", "a list begins with the header tenant,party,name,reason, or is JSON"),
        ("party;reason\nbob;fraud\n", "a list begins with the header"),
        ("name,reason\nRobert Roe\n", "entry 1: more or fewer cells than the header"),
        ("name,reason\nJane,x\nRobert Roe,a,b\n", "entry 2: more or fewer cells than the header"),
        ("name,reason\nRobert Roe,\n", "entry 1: reason: Field required"),
        ('name,reason\n"Robert Roe,fraud\n', "unexpected end of data"),
        ('[{"name": "Robert Roe"}]', "entry 1: reason: Field required"),
        ('[{"name": "Robert Roe", "reason": "x"}', "Invalid JSON: EOF"),
        ('{"name": "Robert Roe", "reason": "x"}', "Input should be a valid"),
        ('[{"name": "Jane", "reason": "x"}, {"reason": "x"}]', "entry 2: an entry has a party or a name"),
        ('[{"party": "bob", "reason": "x"}]', "entry 1: a party's id means nothing without its tenant"),
        (
            '[{"tenant": "acme", "party": "bob", "reason": "x"}]',
            "entry 1: tenant: expected an id like ten_",
        ),
        ('[{"name": "Robert Roe", "because": "x"}]', "entry 1: reason: Field required"),
    ],
)
def test_a_list_with_a_mistake_is_not_used_and_the_mistake_is_named(tmp_path: Path, written: str, wrong: str) -> None:
    """Its entry and field, but not what stands there; half a list would unblock the other half."""
    file = tmp_path / "list.csv"
    provider = listing(file, {"name": "Robert Roe", "reason": "sanctions"})
    assert because(provider, subject())
    file.write_text(written)
    with pytest.raises(ScreeningImpossibleError) as refused:
        provider.screen(subject())
    assert f"list.csv: {wrong}" in str(refused.value)
    assert "Robert" not in str(refused.value)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A spreadsheet's own format, say."""
    file = tmp_path / "list.xlsx"
    file.write_bytes(b"PK\x03\x04\xff")
    with pytest.raises(ScreeningImpossibleError, match=r"list.xlsx: not UTF-8 at byte 4"):
        BlocklistProvider(file).screen(subject())


def test_a_list_that_cannot_be_read_now_is_unavailable(tmp_path: Path) -> None:
    """It may be there in a second; nobody is clear or blocked because of that."""
    with pytest.raises(ScreeningUnavailableError, match="No such file or directory"):
        BlocklistProvider(tmp_path / "nowhere.csv").screen(subject())
