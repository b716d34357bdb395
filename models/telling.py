"""The shape of a text that people are told: for whom it is, and its wording in each language."""

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "th"]
# ``concerned_buyer`` and ``concerned_seller`` are the concerned side, if it is that one.
Audience = Literal["buyer", "seller", "operator", "concerned", "concerned_buyer", "concerned_seller"]
Wording = tuple[str, str]


@dataclass(frozen=True)
class Telling:
    """One text of an event, for those it is meant for: subject and body in each language."""

    to: tuple[Audience, ...]
    en: Wording
    th: Wording

    def wording(self, language: Language) -> Wording:
        """Subject and body in a language."""
        return self.th if language == "th" else self.en
