"""What a tenant is and what it wrote down, for people who ask over the API: itself, its policies, its templates."""

from typing import Final

from sqlalchemy import Engine, RowMapping, text

from ledger.listings import Cut
from models.templates import TEMPLATES, Template

_POLICY: Final = """
SELECT kind, version, document, created_at FROM policy
WHERE tenant_id = :tenant AND kind = :kind AND version = coalesce(:version, version)
ORDER BY version DESC LIMIT 1
"""
_TEMPLATES: Final = """
SELECT t.document::text FROM template t WHERE t.tenant_id = :tenant AND (CAST(:after AS text) IS NULL
    OR (t.created_at, t.name) < (SELECT l.created_at, l.name FROM template l
                                 WHERE l.tenant_id = :tenant AND l.name = :after))
ORDER BY t.created_at DESC, t.name DESC LIMIT :limit
"""


def tenant(engine: Engine, identifier: str) -> RowMapping | None:
    """A tenant: ``id name mode reporting_currency``."""
    query = "SELECT id, name, mode, reporting_currency FROM tenant WHERE id = :id"
    with engine.connect() as connection:
        return connection.execute(text(query), {"id": identifier}).mappings().first()


def policy(engine: Engine, of_tenant: str, kind: str, version: int | None = None) -> RowMapping | None:
    """A version of a policy, or the newest: ``kind version document created_at``; None where it was never written."""
    with engine.connect() as connection:
        parameters = {"tenant": of_tenant, "kind": kind, "version": version}
        return connection.execute(text(_POLICY), parameters).mappings().first()


def templates(engine: Engine, of_tenant: str, cut: Cut) -> list[Template]:
    """A tenant's own templates, newest first, then those that are built in: up to ``limit + 1`` after a name."""
    built_in, limit = list(TEMPLATES.values()), cut.limit + 1
    if cut.after in TEMPLATES:
        return built_in[list(TEMPLATES).index(str(cut.after)) + 1 :][:limit]
    with engine.connect() as connection:
        parameters = {"tenant": of_tenant, "after": cut.after, "limit": limit}
        own = [Template.model_validate_json(one) for one in connection.execute(text(_TEMPLATES), parameters).scalars()]
    return [*own, *built_in][:limit]
