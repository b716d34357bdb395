"""The documentation is true where a test can tell."""

import re
from pathlib import Path

import pytest

from models.postings import AccountKind
from models.states import mermaid
from settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


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
