"""Ids are prefixed, sort by time, and are parsed by the inverse of what made them. Source: domain.md, section 1."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models import ids
from tests.builders import NOW, new_id

ENTROPY = st.binary(min_size=10, max_size=10)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


@settings(deadline=None)
@given(MOMENTS, ENTROPY, st.sampled_from(ids.PREFIXES))
@example(datetime(2004, 7, 9, 18, 35, 14, 116000, UTC), bytes(10), "esc")  # a float of seconds loses its millisecond
def test_made_at_is_the_inverse_of_make_to_the_millisecond(at: datetime, entropy: bytes, prefix: str) -> None:
    identifier = ids.make(prefix, at, entropy)
    assert ids.is_id(prefix, identifier)
    assert ids.made_at(identifier) == at - timedelta(microseconds=at.microsecond % 1000)


@settings(deadline=None)
@given(MOMENTS, MOMENTS, ENTROPY, ENTROPY)
def test_ids_sort_by_time(one: datetime, other: datetime, a: bytes, b: bytes) -> None:
    earlier, later = sorted((one, other))
    if later - earlier >= timedelta(milliseconds=1):
        assert ids.make("esc", earlier, a) < ids.make("esc", later, b)


@settings(deadline=None)
@given(ENTROPY, ENTROPY)
def test_ids_of_one_moment_differ_when_their_entropy_does(a: bytes, b: bytes) -> None:
    assert (ids.make("esc", NOW, a) == ids.make("esc", NOW, b)) == (a == b)


def test_a_derived_id_is_the_same_on_every_attempt_and_another_for_other_parts() -> None:
    assert ids.derive("set", NOW, "esc_1", "cmd_1") == ids.derive("set", NOW, "esc_1", "cmd_1")
    others = {
        ids.derive("set", NOW, "esc_1", "cmd_1"),
        ids.derive("txn", NOW, "esc_1", "cmd_1"),
        ids.derive("set", NOW, "esc_1", "cmd_2"),
        ids.derive("set", NOW, "esc_1c", "md_1"),
        ids.derive("set", NOW + timedelta(milliseconds=1), "esc_1", "cmd_1"),
    }
    assert len({identifier.partition("_")[2] for identifier in others}) == 5


def test_every_kind_that_the_domain_names_has_its_prefix() -> None:
    named = "ten_ pty_ esc_ mil_ dsp_ set_ txn_ ent_ pay_ evt_ pol_ whk_"
    assert {prefix.removesuffix("_") for prefix in named.split()} <= set(ids.PREFIXES)


@pytest.mark.parametrize(
    "text",
    [
        "", "esc_", "esc_short", "ESC_01jd3v6k9q4m8n2p5r7s0t1w3x", "xyz_01jd3v6k9q4m8n2p5r7s0t1w3x",
        "esc_01jd3v6k9q4m8n2p5r7s0t1w3x\n", "esc_01jd3v6k9q4m8n2p5r7s0t1w3u",
    ],
)  # fmt: skip
def test_what_is_no_id_is_told_apart(text: str) -> None:
    assert not ids.is_id("esc", text)
    with pytest.raises(ValueError, match="is not a Holdfast id"):
        ids.made_at(text)


def test_an_id_beyond_the_calendar_is_refused_as_a_value_not_as_an_overflow() -> None:
    with pytest.raises(ValueError, match="of no moment in the calendar"):
        ids.made_at(f"esc_{'z' * 26}")


def test_an_id_of_one_kind_is_not_an_id_of_another() -> None:
    assert not ids.is_id("mil", new_id("esc"))


def test_an_id_needs_a_known_prefix_and_ten_bytes_of_entropy() -> None:
    with pytest.raises(ValueError, match="an id is one of"):
        ids.make("usr", NOW, bytes(10))
    with pytest.raises(ValueError, match="10 bytes"):
        ids.make("esc", NOW, bytes(9))


def test_a_workflow_id_names_its_escrow_and_back() -> None:
    escrow = new_id("esc")
    assert ids.escrow_of(ids.escrow_workflow(escrow)) == escrow
    for other in (escrow, f"payout:{escrow}", f"escrow:{new_id('mil')}", "escrow:"):
        with pytest.raises(ValueError, match="is not the id of an escrow's workflow"):
            ids.escrow_of(other)


def test_a_retry_after_a_decline_has_its_own_key_and_workflow_and_the_first_keeps_its_name() -> None:
    payout = new_id("pay")
    assert ids.payout_workflow(payout, 1) == f"payout:{payout}"
    assert ids.payout_workflow(payout, 2) != ids.payout_workflow(payout, 1)
    assert ids.payout_key(payout, 2) != ids.payout_key(payout, 1)
    assert ids.payout_key(payout, 2) == ids.payout_key(payout, 2)
