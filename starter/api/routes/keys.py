"""Keys: those of the API, and the public keys that end users' tokens are signed with. Operators only.

Source: http-contract.md, "Authentication".
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter
from pydantic import AwareDatetime, ConfigDict, Field
from sqlalchemy import RowMapping
from starlette.concurrency import run_in_threadpool

from ledger import keys
from ledger.keys import KeyRole, NewKey
from models.errors import ErrorCode, RefusedError
from models.fields import Document, Duration, Line
from starter.api.asking import Ask, Json, Limit, StartingAfter, known_id, operators_only
from starter.api.commanding import new_id
from starter.api.once import Asked, OnceRoute
from starter.api.views import Page, View

router = APIRouter(prefix="/v1", route_class=OnceRoute, tags=["keys"])

# So long the asker's own key answers at least, lest the answer with its successor is lost and nothing can ask again.
_OWN_GRACE: Final = timedelta(minutes=1)


class KeyRequest(Document):
    """What a key is for: `operator` may do everything, `platform` acts for buyers and sellers, `read_only` reads."""

    role: KeyRole
    name: Line

    model_config = ConfigDict(json_schema_extra={"example": {"role": "platform", "name": "web shop"}})


class Rotation(Document):
    """For how long the old key stays good beside the new one, up to P30D; at least PT1M for the key that asks."""

    grace: Duration = timedelta(days=1)


class JwtKeyRequest(Document):
    """A public key in PEM: Ed25519, P-256, or RSA of at least 2048 bits."""

    name: Line
    public_key: Annotated[str, Field(max_length=4000)]


class KeyView(View):
    """An API key by its last characters; the key itself is kept nowhere."""

    id: str
    role: KeyRole
    name: str
    ending: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class NewKeyView(KeyView):
    """A key that was just made; ``key`` is shown this once."""

    key: str


class JwtKeyView(View):
    """A registered public key; its id is the tokens' ``kid``."""

    id: str
    name: str
    algorithm: Literal["EdDSA", "ES256", "RS256"]
    public_key: str
    created_at: AwareDatetime
    revoked_at: AwareDatetime | None


@router.get("/api-keys")
async def list_api_keys(asked: Ask, limit: Limit = 20, starting_after: StartingAfter = None) -> Page[KeyView]:
    """API keys, newest first, also those that open nothing any more."""
    operators_only(asked, "the list of keys")
    rows = await run_in_threadpool(keys.keys, asked.engine, asked.tenant)
    page, more = _cut(rows, limit, starting_after)
    return Page(data=[KeyView(**row) for row in page], has_more=more)


@router.post("/api-keys", status_code=201)
async def create_api_key(asked: Ask, body: Json[KeyRequest]) -> NewKeyView:
    """Make a key of the same books, test or live, as the one that asks."""
    operators_only(asked, "making a key")
    made = await run_in_threadpool(
        keys.create_key, asked.engine, asked.tenant, body.role, body.name, new_id("key", asked)
    )
    return await _shown(asked, made)


@router.post("/api-keys/{key}/rotate", status_code=201)
async def rotate_api_key(asked: Ask, key: str, body: Json[Rotation] | None = None) -> NewKeyView:
    """Make a key in place of another, which stays good for a while."""
    operators_only(asked, "rotating a key")
    grace = (body or Rotation()).grace
    if key == asked.principal.key and grace < _OWN_GRACE:
        raise RefusedError(
            ErrorCode.INVALID_COMMAND,
            "grace: this is the key that asks; it has to stay good for PT1M or longer, or a lost answer could not be "
            "asked for again. Revoke it with its successor to end it at once",
        )
    made = await run_in_threadpool(
        keys.rotate_key, asked.engine, asked.tenant, known_id("key", key, "key"), grace, new_id("key", asked)
    )
    return await _shown(asked, made)


@router.delete("/api-keys/{key}", status_code=204)
async def revoke_api_key(asked: Ask, key: str) -> None:
    """Let a key open nothing any more, at once. The last operator key that does not expire stays."""
    operators_only(asked, "revoking a key")
    await run_in_threadpool(keys.revoke_key, asked.engine, asked.tenant, known_id("key", key, "key"))


@router.get("/jwt-keys")
async def list_jwt_keys(asked: Ask, limit: Limit = 20, starting_after: StartingAfter = None) -> Page[JwtKeyView]:
    """Registered public keys, newest first."""
    operators_only(asked, "the list of keys")
    rows = await run_in_threadpool(keys.jwt_keys, asked.engine, asked.tenant)
    page, more = _cut(rows, limit, starting_after)
    return Page(data=[JwtKeyView(**row) for row in page], has_more=more)


@router.post("/jwt-keys", status_code=201)
async def register_jwt_key(asked: Ask, body: Json[JwtKeyRequest]) -> JwtKeyView:
    """Register a public key: tokens that it verifies, with its id as `kid`, are those of end users."""
    operators_only(asked, "registering a key")
    made = await run_in_threadpool(
        keys.register_jwt_key, asked.engine, asked.tenant, body.name, body.public_key, new_id("jwk", asked)
    )
    rows = await run_in_threadpool(keys.jwt_keys, asked.engine, asked.tenant)
    return JwtKeyView(**next(row for row in rows if row["id"] == made))


@router.delete("/jwt-keys/{key}", status_code=204)
async def revoke_jwt_key(asked: Ask, key: str) -> None:
    """Accept no token of this key any more, at once."""
    operators_only(asked, "revoking a key")
    await run_in_threadpool(keys.revoke_jwt_key, asked.engine, asked.tenant, known_id("jwk", key, "key"))


async def _shown(asked: Asked, made: NewKey) -> NewKeyView:
    rows = await run_in_threadpool(keys.keys, asked.engine, asked.tenant)
    return NewKeyView(**next(row for row in rows if row["id"] == made.id), key=made.secret)


def _cut(rows: Sequence[RowMapping], limit: int, after: str | None) -> tuple[list[dict[str, Any]], bool]:
    """The rows, newest first, whose ids come after that one in the list."""
    rest = [dict(row) for row in rows if after is None or row["id"] < after]
    return rest[:limit], len(rest) > limit
