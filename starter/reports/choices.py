"""What can be asked for on the command line. Imported for help as well, so it imports nothing else."""

from enum import StrEnum


class Kind(StrEnum):
    """The reports."""

    LIQUIDITY = "liquidity"
    TRIAL_BALANCE = "trial-balance"
    FEES = "fees"
    SETTLEMENTS = "settlements"
    TENANTS = "tenants"


class By(StrEnum):
    """How long a period of a report is."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Format(StrEnum):
    """How a report is written."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


class StoryFormat(StrEnum):
    """How an audit report is written."""

    TEXT = "text"
    JSON = "json"
