"""What every section of the API is."""

from holdfast_client.calls import Calls


class Section:
    """Some of the API's operations, each a method under the operation's own name."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
