"""Which release the histories belong to, and whether they may still change: what went out with a release may not."""

import re
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
HISTORIES: Final = Path(__file__).parent / "histories"


def version() -> str:
    """The version in pyproject.toml."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(document["project"]["version"])


def changelog() -> str:
    """What CHANGELOG.md says."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def released(changes: str, wanted: str) -> bool:
    """Whether a version is out: its heading in the changelog is there and says ``unreleased`` no more."""
    heading = re.search(rf"^## {re.escape(wanted)}(?![\w.-])(.*)$", changes, re.MULTILINE)
    return heading is not None and "unreleased" not in heading[1]


def folder(changes: str, wanted: str) -> Path:
    """Where the histories of a version are recorded. Raises ``SystemExit`` with what to do if it is released."""
    if released(changes, wanted):
        raise SystemExit(
            f"{wanted} is released: escrows that it began are open, and {HISTORIES.name}/{wanted} stays as it is.\n"
            "Raise the version in pyproject.toml, begin its section in CHANGELOG.md with a heading such as\n"
            '"## 0.2.0 (unreleased)", and record again: docs/upgrades.md.'
        )
    return HISTORIES / wanted
