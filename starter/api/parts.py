"""The escrow that a milestone, dispute or payout belongs to, by the part's own id."""

from typing import Final

from starlette.concurrency import run_in_threadpool

from ledger import listings
from ledger.listings import Part
from models.escrow import Escrow
from starter.api.asking import known_id
from starter.api.commanding import visible_escrow
from starter.api.once import Asked
from starter.api.problems import ProblemError

_PREFIXES: Final[dict[Part, str]] = {"milestone": "mil", "dispute": "dsp", "payout": "pay"}


async def escrow_with(asked: Asked, part: Part, identifier: str) -> Escrow:
    """The escrow of a part, if it is the asker's to see. Raises 404 otherwise, in the same words whatever the reason:
    somebody else's id must not be told from one that does not exist.
    """
    known_id(_PREFIXES[part], identifier, part)
    escrow = await run_in_threadpool(listings.escrow_of, asked.engine, part, identifier)
    if escrow is not None:
        try:
            return await visible_escrow(asked, escrow)
        except ProblemError as error:
            if error.status != 404:
                raise
    raise not_there(part, identifier)


def not_there(part: Part, identifier: str) -> ProblemError:
    """404: there is none, or it is not the asker's to see."""
    return ProblemError(404, f"there is no {part} {identifier}")
