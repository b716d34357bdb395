"""``from holdfast_client import Holdfast``: the client of the HTTP API, for marketplaces written in Python."""

from holdfast_client.client import Holdfast
from holdfast_client.errors import HoldfastError

__all__ = ["Holdfast", "HoldfastError"]
