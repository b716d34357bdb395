"""ISO 8601 durations of a fixed length: weeks, days, hours, minutes, seconds; never months or years."""

import re
from datetime import timedelta
from typing import Final

_TIME: Final = "T([0-9]{1,10}H([0-9]{1,10}M)?([0-9]{1,10}S)?|[0-9]{1,10}M([0-9]{1,10}S)?|[0-9]{1,10}S)"
PATTERN: Final = f"^P([0-9]{{1,10}}W|[0-9]{{1,10}}D({_TIME})?|{_TIME})$"
"""What we take: P14D, PT36H, P1DT12H, PT1H30M, or weeks alone: P2W. Whole numbers, no sign."""

EXPECTED: Final = (
    "expected an ISO 8601 duration in weeks, days, hours, minutes or seconds, such as P14D or PT36H: "
    "months and years have no fixed length"
)

_FORM: Final = re.compile(PATTERN)
# What was kept before there was ``written``: 366 days stood as P1Y1D, whose year is always 365 days.
_KEPT_FORM: Final = re.compile(
    r"P(?=.)([0-9]{1,10}Y)?([0-9]{1,10}D)?(T(?=.)([0-9]{1,10}H)?([0-9]{1,10}M)?([0-9]{1,10}(\.[0-9]{1,6})?S)?)?"
)
_PARTS: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?([YWDHMS])")
_DAY: Final = timedelta(days=1)
_LENGTHS: Final = {
    "Y": 365 * _DAY, "W": 7 * _DAY, "D": _DAY, "H": timedelta(hours=1), "M": timedelta(minutes=1),
    "S": timedelta(seconds=1),
}  # fmt: skip


def read(text: str) -> timedelta:
    """The length of a duration that somebody writes. Raises ``ValueError`` saying what is allowed."""
    if _FORM.fullmatch(text) is None:
        raise ValueError(EXPECTED)
    return _sum(text)


def read_kept(text: str) -> timedelta:
    """The length of a duration that we kept, also as it was written once: with years of 365 days."""
    return _sum(text) if _KEPT_FORM.fullmatch(text) else read(text)


def written(length: timedelta) -> str:
    """In days and time, ``P366D``, ``PT14H``, ``P1DT12H``; nothing at all is ``P0D``. ``length`` is not negative."""
    minutes, seconds = divmod(length.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{length.microseconds:06}".rstrip("0") if length.microseconds else ""
    time = "".join(f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M")) if number)
    time += f"{seconds}{fraction}S" if seconds or fraction else ""
    days = f"{length.days}D" if length.days or not time else ""
    return f"P{days}{'T' if time else ''}{time}"


def _sum(text: str) -> timedelta:
    try:
        return sum((_part(*found) for found in _PARTS.findall(text)), timedelta(0))
    except OverflowError:
        raise ValueError(EXPECTED) from None


def _part(whole: str, fraction: str, unit: str) -> timedelta:
    return int(whole) * _LENGTHS[unit] + timedelta(microseconds=int(fraction.ljust(6, "0")))
