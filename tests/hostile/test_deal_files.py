"""Deal files that mean harm or are merely strange: a message with the place and what is allowed, and no other end.

``HOSTILE_MINUTES=10`` makes files up for that long.
"""

from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import strategies as st

from starter.deals.deal import load
from starter.deals.deal_text import DealFileError
from tests.deal_files import GOOD
from tests.hostile.corpus_files import bytes_of, each, filled
from tests.hostile.making_up import MINUTES, beyond

EXAMPLES: Final = 120
LONGEST: Final = 2000


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written where messages name them by a short path."""
    monkeypatch.chdir(tmp_path)


def told(content: bytes) -> str | None:
    """What a person is told of a file; None where it is a deal. Nothing else may come of it."""
    file = Path("deal.yaml")
    file.write_bytes(content)
    try:
        load(file)
    except DealFileError as error:
        return str(error)
    return None


def content_of(case: dict[str, Any]) -> bytes:
    """The file of an entry of the corpus."""
    if "text" in case or "hex" in case:
        return bytes_of(case)
    text = GOOD
    if "old" in case:
        assert case["old"] in GOOD
        text = GOOD.replace(case["old"], filled(case, case["new"]), 1)
    content = text.replace("\n", "\r\n").encode() if case.get("crlf") else text.encode("utf-8", "surrogatepass")
    return b"\xef\xbb\xbf" + content if case.get("bom") else content


@each("deals")
def test_a_hostile_file_is_told_what_is_wrong_with_it(case: dict[str, Any]) -> None:
    """In one line per mistake, which is not as long as the file; or it is a deal, and means what it says."""
    message = told(content_of(case))
    if "fine" in case:
        assert message is None, message
        assert load(Path("deal.yaml")).title == case["fine"]
        return
    assert message is not None, "it was taken"
    assert case.get("message", "deal.yaml") in message
    for line in message.splitlines():
        assert line.startswith("deal.yaml")
        assert len(line) < LONGEST
        assert line.isprintable(), "what a file says is not for the terminal to carry out"


LINES: Final = GOOD.splitlines(keepends=True)
PIECES: Final = st.sampled_from(
    ["&a", "*a", "<<: ", "!!str ", "!x ", "? ", "- ", "{", "}", "[", "]", ": ", "|", ">", "'", '"', "%", "@", "`", "#",
     "---\n", "...\n", "\t", "\x85", "\u2028", "\ufeff", "\x00", "1e400", "~", "0", "-", "9" * 50, "\U0010ffff"]
)  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A good deal in which something was inserted, left out, doubled or moved, or bytes of no file at all."""
    text = "".join(draw(st.permutations(LINES))) if draw(st.integers(0, 5)) == 0 else GOOD
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        until = at + draw(st.sampled_from([0, 0, 0, 1, 5, 40]))
        text = text[:at] + draw(PIECES | st.text(max_size=8)) + text[until:]
    content = text.encode("utf-8", "surrogatepass")
    return content if draw(st.integers(0, 9)) else draw(st.binary(max_size=200))


@pytest.mark.timeout(120 + 60 * MINUTES)
def test_whatever_a_file_contains_it_is_a_deal_or_a_message() -> None:
    """Made up, from a good deal on."""
    beyond(spoiled(), try_one, EXAMPLES)


def try_one(content: bytes) -> None:
    """A deal, or a message."""
    message = told(content)
    assert message is None or message.startswith("deal.yaml"), message
