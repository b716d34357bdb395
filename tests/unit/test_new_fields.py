"""How a stored record gets a field: builds before it read on while it is empty, and never lose what it says."""

import pytest
from pydantic import Field, ValidationError

from models.fields import Document


class Before(Document):
    """A record as the last release knows it."""

    amount: int


class After(Document):
    """The same with a field, as docs/upgrades.md says."""

    amount: int
    memo: str | None = Field(None, exclude_if=lambda value: value is None)


class Hasty(Document):
    """The same with a field that is written from the start."""

    amount: int
    memo: str | None = None


def test_what_earlier_builds_wrote_is_read() -> None:
    """A field that was not there has its default."""
    assert After.model_validate_json(Before(amount=1).model_dump_json()) == After(amount=1)


def test_an_earlier_build_reads_a_record_whose_new_field_is_empty() -> None:
    """It is left out; written as null, it would stop every build that does not know it."""
    assert Before.model_validate_json(After(amount=1).model_dump_json()) == Before(amount=1)
    with pytest.raises(ValidationError, match="memo"):
        Before.model_validate_json(Hasty(amount=1).model_dump_json())


def test_an_earlier_build_refuses_what_it_would_forget() -> None:
    """It would write the record again without the field."""
    with pytest.raises(ValidationError, match="memo"):
        Before.model_validate_json(After(amount=1, memo="late").model_dump_json())
