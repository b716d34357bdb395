"""The marketplace of a deal file as the ledger knows it: written before the story, and what the story changes of it."""

from datetime import date
from typing import Any

from sqlalchemy import Engine

from ledger import rates, tenants
from ledger.keyring import Keyring
from models.parties import PartyDetails
from models.policies import POLICY_KINDS
from starter.deals.deal import Action, Deal
from starter.deals.runs import Run
from starter.deals.written import BlockParty, References, Written, meant


def prepare(engine: Engine, keys: Keyring, deal: Deal, run: Run) -> None:
    """The tenant, its parties, policies, templates and rates: writing them again changes nothing.

    Raises ``RefusedError`` for what the ledger does not take.
    """
    tenants.create_tenant(engine, run.tenant, deal.tenant, deal.reporting_currency)
    for party, said in deal.parties.items():
        tenants.put_party(engine, run.tenant, party, keys=keys, **_details(said))
    for kind, document in deal.policies.items():
        tenants.put_policy(engine, run.tenant, kind, document)
    for template in deal.templates:
        tenants.put_template(engine, run.tenant, template)
    _put_rates(engine, deal, run, deal.rates)


def change(engine: Engine, keys: Keyring, deal: Deal, run: Run, action: Action) -> None:
    """What an action changes of the tenant; again at once it changes nothing. Raises ``RefusedError``."""
    said, party = action.said, getattr(action.said, "party", None)
    if isinstance(said, BlockParty):
        tenants.block_party(engine, run.tenant, said.party, said.because)
    elif party is not None:
        tenants.put_party(engine, run.tenant, party, keys=keys, **_details(said))
    elif "base" in said.model_fields_set:
        _put_rates(engine, deal, run, (said,))
    for kind, document in POLICY_KINDS.items():
        if (policy := getattr(said, kind, None)) is not None:
            tenants.put_policy(engine, run.tenant, kind, meant(document, policy, References(run.tenant)))


def _put_rates(engine: Engine, deal: Deal, run: Run, said: tuple[Written, ...]) -> None:
    today: date = run.started.date()
    rates.put_rates(engine, [deal.rate(one, today) for one in said], run.tenant)


def _details(said: Written) -> dict[str, Any]:
    return {name: getattr(said, name) for name in PartyDetails.model_fields if name in said.model_fields_set}
