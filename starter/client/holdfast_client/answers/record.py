"""What every answer is."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """An answer. Fields that a newer service adds are ignored, and words such as states are plain strings, so that new
    ones break nobody. Amounts are minor units, times have a zone."""

    model_config = ConfigDict(frozen=True, extra="ignore")
