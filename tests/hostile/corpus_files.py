"""The corpus: hostile payloads as data, each with a name, in ``corpus/``."""

from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

_FOLDER: Final = Path(__file__).with_name("corpus")


def entries(file: str) -> list[dict[str, Any]]:
    """Every entry of a file of the corpus, in its order; no name comes twice."""
    found: list[dict[str, Any]] = YAML(typ="safe", pure=True).load(_FOLDER / f"{file}.yaml")
    names = [one["name"] for one in found]
    assert len(names) == len(set(names)), "a name comes twice"
    return found


def each(file: str) -> pytest.MarkDecorator:
    """Parametrize a test by the entries of a file, as ``case``."""
    found = entries(file)
    return pytest.mark.parametrize("case", found, ids=[one["name"] for one in found])


def text_of(case: dict[str, Any], of: str) -> str:
    """The text under ``of``, so many ``times`` between ``before`` and ``after``, and ``closed`` as often."""
    times = case.get("times", 1)
    return str(case.get("before", "") + case[of] * times + case.get("closed", "") * times + case.get("after", ""))


def bytes_of(case: dict[str, Any]) -> bytes:
    """A body: from ``hex``, or from ``text``."""
    return bytes.fromhex(case["hex"]) if "hex" in case else text_of(case, "text").encode()


def filled(case: dict[str, Any], text: str) -> str:
    """``%UNIT%`` in a text, so many times."""
    return text.replace("%UNIT%", case.get("unit", "") * case.get("times", 1))
