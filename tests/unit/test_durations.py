"""Durations: ISO 8601 of a fixed length comes in, days and time go out, and what was kept before is still read."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from models import durations
from models.fields import GIVEN, Duration
from models.policies import DisputePolicy

DAY = timedelta(days=1)
BEFORE = TypeAdapter(timedelta)
NOW: TypeAdapter[timedelta] = TypeAdapter(Duration)


def whole(most: timedelta) -> st.SearchStrategy[timedelta]:
    """Durations of whole seconds."""
    return st.integers(0, int(most.total_seconds())).map(lambda seconds: timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("text", "length", "written"),
    [
        ("P14D", 14 * DAY, "P14D"),
        ("P2W", 14 * DAY, "P14D"),
        ("PT36H", 1.5 * DAY, "P1DT12H"),
        ("P1DT12H", 1.5 * DAY, "P1DT12H"),
        ("PT1H30M", timedelta(minutes=90), "PT1H30M"),
        ("PT90M", timedelta(minutes=90), "PT1H30M"),
        ("PT1H5S", timedelta(seconds=3605), "PT1H5S"),
        ("P366D", 366 * DAY, "P366D"),
        ("PT0S", 0 * DAY, "P0D"),
    ],
)
def test_a_duration_is_read_and_written_in_days_and_time(text: str, length: timedelta, written: str) -> None:
    assert NOW.validate_json(json.dumps(text), strict=True, context=GIVEN) == length
    assert NOW.dump_json(length).decode() == f'"{written}"'
    assert NOW.dump_python(length) == length


@pytest.mark.parametrize(
    "said",
    [
        "14 days", "14:00:00", "1 day", "P1M", "P1Y", "P1Y1D", "P1W1D", "P1.5D", "PT0.5S", "P", "PT", "P1DT", "P1H",
        "-P1D", "P-1D", "+P1D", "p1d", "P1D ", "P1D\n", "P\u0661D", "", "P9999999999D", 14, 14.0, None, True,
    ],
)  # fmt: skip
def test_what_is_no_duration_of_a_fixed_length_is_refused_and_told_what_is_one(said: object) -> None:
    with pytest.raises(ValidationError, match="such as P14D or PT36H: months and years have no fixed length"):
        DisputePolicy.model_validate_json(json.dumps({"response_window": said}), context=GIVEN)


@given(whole(400 * DAY))
def test_what_we_write_is_what_we_take(length: timedelta) -> None:
    assert durations.read(durations.written(length)) == length


@given(whole(4000 * DAY), st.integers(0, 999_999))
def test_what_was_kept_before_is_read_as_what_it_was(seconds: timedelta, microseconds: int) -> None:
    length = seconds + timedelta(microseconds=microseconds)
    assert NOW.validate_json(BEFORE.dump_json(length)) == length


@given(whole(364 * DAY).filter(bool))
def test_below_a_year_it_is_written_as_before_so_that_what_was_hashed_keeps_its_hash(length: timedelta) -> None:
    assert NOW.dump_json(length) == BEFORE.dump_json(length)


@pytest.mark.parametrize("said", ["P1M", "14 days", "P1Y1M", "P", "PT", "P1Y1DT"])
def test_nothing_else_is_read_from_what_was_kept(said: str) -> None:
    with pytest.raises(ValidationError):
        NOW.validate_json(json.dumps(said))


def test_the_schema_says_what_is_taken() -> None:
    schema = NOW.json_schema()
    assert (schema["type"], schema["pattern"]) == ("string", durations.PATTERN)
