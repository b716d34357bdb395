"""The documentation is true where a test can tell."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from chaos.points import POINTS
from models.decide import ROWS
from models.notification_texts import EVENTS
from models.policies import POLICY_KINDS
from models.postings import AccountKind
from models.states import mermaid
from settings import Settings
from starter.api.vocabulary import CODES
from starter.deals.deal import load
from starter.deals.written import ACTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
_DEALS = (ROOT / "docs/deals.md").read_text(encoding="utf-8")
_SNIPPETS = re.findall(r"^```yaml\n(.*?)^```$", _DEALS, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_picture_of_the_state_machine_is_the_table(page: str) -> None:
    """The diagram that people read is drawn from the table that the program obeys."""
    assert mermaid() in (ROOT / page).read_text(encoding="utf-8")


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    """``.env.example`` has each setting with its default, and no other."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^(?:# )?HOLDFAST_([A-Z_]+)=(.*)$", text, re.MULTILINE))
    fields = Settings.model_fields
    assert {name.lower() for name in documented} == set(fields)
    for name, field in fields.items():
        if field.default is not None:
            assert type(field.default)(_parsed(documented[name.upper()], field.default)) == field.default


def _parsed(text: str, default: object) -> object:
    if isinstance(default, bool):
        return {"true": True, "false": False}[text]
    return {} if isinstance(default, dict) and text == "{}" else text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A page names no file that is gone."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_ledger_page_lists_every_kind_of_account() -> None:
    """Finance people find each account of the books explained."""
    rows = re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/ledger.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [str(kind) for kind in AccountKind]


def test_the_lock_names_no_download_host() -> None:
    """The pinned dependencies come from whatever package index the machine uses."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in lock
    assert "--index-url" not in lock


def test_every_page_that_the_code_cites_is_there() -> None:
    """A comment that says where a rule comes from names a page that a reader has."""
    rooms = ("models", "ledger", "activities", "workflows", "starter", "tests")
    code = [path for room in rooms for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".sql"}]
    cited = {name for path in code for name in re.findall(r"\b[a-zA-Z_-]+\.md\b", path.read_text(encoding="utf-8"))}
    known = {page.name for page in PAGES}
    assert cited <= known, f"cited but missing: {cited - known}"


@pytest.mark.parametrize("snippet", _SNIPPETS, ids=range(len(_SNIPPETS)))
def test_every_deal_on_the_page_about_deals_can_be_played(snippet: str, tmp_path: Path) -> None:
    """The first is whole; each other one, with its sections in place of those of the first, is whole too."""
    file = tmp_path / "deal.yaml"
    file.write_text("".join((_sections(_SNIPPETS[0]) | _sections(snippet)).values()), encoding="utf-8")
    assert load(file).remarks == ()


def _sections(snippet: str) -> dict[str, str]:
    parts = re.split(r"^(?=\w)", snippet, flags=re.MULTILINE)
    return {part.partition(":")[0]: part for part in parts if part}


@pytest.mark.parametrize("name", ACTIONS)
def test_the_page_about_deals_lists_every_action_with_its_fields_and_who_may_do_it(name: str) -> None:
    """What can be written in a file is what the page says can be written, and by whom."""
    found = re.search(rf"^\| `{name}` \| (.*?)\| (.*?) \|$", _DEALS, re.MULTILINE)
    assert found, f"docs/deals.md does not list {name}"
    said, last = found.groups()
    known = set(ACTIONS[name].model_fields) - {"do", "actor", "expect"}
    assert {field for field in known if f"`{field}`" not in said} == set()
    if name in ROWS:
        assert set(re.sub(r" \(.*?\)", "", last).split(", ")) == ROWS[name].roles - {"system"}


def test_the_page_about_deals_lists_every_section_and_every_policy_with_its_fields() -> None:
    """A newcomer finds each word that a file may have."""
    words = {"title", "tenant", "parties", "operators", "rates", "templates", "policies", "escrow", "actions"}
    for kind, document in POLICY_KINDS.items():
        words |= {kind, *_words(document)}
    assert {word for word in words if not re.search(rf"[`.{{ ]{word}[`,}}]", _DEALS)} == set()


def _words(document: type[BaseModel]) -> set[str]:
    words: set[str] = set()
    for name, field in document.model_fields.items():
        words.add(field.alias or name)
        inner = [one for one in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(one, type)]
        for one in inner:
            if issubclass(one, BaseModel):
                words |= _words(one)
    return words


@pytest.mark.parametrize("event", EVENTS)
def test_the_page_about_notifications_says_who_is_told_of_every_event(event: str) -> None:
    """Nobody has to read the texts to learn who gets them."""
    page = (ROOT / "docs/notifications.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| `{re.escape(event)}` \| (.*?) \|", page, re.MULTILINE)
    assert found, f"docs/notifications.md does not list {event}"
    told = {one for telling in EVENTS[event] for one in telling.to}
    audience = {"whose money it is" if one.startswith("concerned") else one for one in told}
    assert set(found.group(1).split(", ")) == (audience or {"nobody"})


def test_the_page_of_edge_cases_says_which_numbers_have_tests() -> None:
    """Whoever looks a number up is told the truth about it."""
    page = (ROOT / "docs/edge_cases.md").read_text(encoding="utf-8").replace("\n> ", " ")
    found = re.search(r"Numbers with such tests: ([0-9\u2013, ]+)\.", page)
    assert found
    bounds = [[int(one) for one in part.split("\u2013")] for part in found.group(1).split(", ")]
    said = {number for part in bounds for number in range(part[0], part[-1] + 1)}
    code = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    assert said == {int(one) for text in code for one in re.findall(r"def test_edge_(\d+)_", text)}


@pytest.mark.parametrize(("page", "marker"), [("security.md", "threats"), ("reliability.md", "faults")])
def test_every_threat_and_every_fault_names_a_test_that_there_is(page: str, marker: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    table = text.split(f"<!-- {marker} -->")[1].split("\n\n")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 25
    for row in rows:
        named = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", row)
        assert named, row
        for name, path in named:
            assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"


def test_the_page_about_reliability_lists_every_named_moment_and_no_other() -> None:
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    table = text.split("<!-- points -->")[1].split("\n\n")[0]
    assert dict(re.findall(r"^\| `([\w-]+)` \| (.+) \|$", table, re.MULTILINE)) == POINTS


def test_the_page_about_the_api_lists_every_code_of_an_error_with_its_status_and_no_other() -> None:
    """Programs branch on codes: none is missing, and none is there that the API does not answer."""
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted((code, str(status)) for code, (status, _) in CODES.items())


def test_the_page_about_architecture_says_which_process_needs_every_setting() -> None:
    """Whoever sets servers of their own up leaves nothing out, and gives no process what it does not need."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.partition("\n| variable | migrate | worker | api |")[2].partition("\n\n")[0]
    named = re.findall(r"`HOLDFAST_([A-Z_]+)`", table)
    assert sorted(name.lower() for name in named) == sorted(Settings.model_fields)
