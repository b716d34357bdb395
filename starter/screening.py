"""The command `screen`: one party, asked about through a worker, on whatever servers there are."""

import asyncio
from pathlib import Path
from typing import Final

import sqlalchemy.exc
from pydantic import ValidationError
from temporalio.exceptions import TemporalError

from ledger import parties
from ledger.engine import connect
from ledger.seals import Seals
from models.errors import ErrorCode, RefusedError
from models.screening import ScreeningResult, ScreenParty
from starter.arrival import OutcomeUnknownError
from starter.embedded.child import StackError
from starter.endings import NOT_FOUND, EndedError
from starter.invocation import suggested
from starter.misuse import MisuseError
from starter.payloads import connected
from starter.progress import Progress
from starter.reports.visible import visible
from starter.sender import Sender
from starter.servers import Servers, external, read_settings, servers_with_books, unreachable

_CONNECTIONS: Final = 2
_USAGE: Final = "screen PARTY --tenant ten_…"


def screen_one(party: str | None, tenant: str | None, chosen: Path | None, *, quiet: bool = False) -> ScreeningResult:
    """Have a party screened; answers what it then is. Raises ``MisuseError``, ``EndedError``, ``StackError``."""
    of, config = _asked(party, tenant, chosen), read_settings()
    home, own = chosen or config.home, external(config)
    with Progress(quiet=quiet) as progress, servers_with_books(own, home, chosen, progress) as servers:
        progress.doing(f"Screening {of.party}.")
        try:
            result = asyncio.run(_screened(of, servers))
        except RefusedError as error:
            why = error.refusal.message
            raise (_unknown(why, chosen) if error.refusal.kind is ErrorCode.NOT_FOUND else StackError(why)) from error
        except OutcomeUnknownError as error:
            hint = f"\nIs a worker running there? `{suggested('worker')}` starts one." if own else ""
            raise StackError(f"No answer for too long: {error}. Asking goes on.{hint}") from error
        except TemporalError as error:
            raise StackError(f"Temporal refuses: {error}") from error
        except sqlalchemy.exc.DBAPIError as error:
            raise StackError(f"PostgreSQL cannot be asked: {str(error.orig).splitlines()[0]}") from error
    return result


def _asked(party: str | None, tenant: str | None, chosen: Path | None) -> ScreenParty:
    if not party or not tenant:
        missing = "whom to screen: PARTY" if not party else "whose party it is: --tenant ten_…"
        raise MisuseError(f"`{_USAGE}` needs to know {missing}; {_where(chosen)}")
    try:
        return ScreenParty(tenant=tenant, party=party)
    except ValidationError as error:
        wrong = " and ".join(f"{one['loc'][0]} {visible(str(one['input']))!s}" for one in error.errors())
        raise _unknown(f"there can be no {wrong}", chosen) from error


def _unknown(message: str, chosen: Path | None) -> EndedError:
    return EndedError(NOT_FOUND, "not_found", f"{message}; {_where(chosen)}")


def _where(chosen: Path | None) -> str:
    return f"`{suggested('report', 'tenants', home=chosen)}` lists tenants and their deals."


async def _screened(of: ScreenParty, servers: Servers) -> ScreeningResult:
    keys, engine = servers.keyring(), connect(servers.database_url, _CONNECTIONS)
    try:
        await asyncio.to_thread(parties.require_tenant, engine, of.tenant)  # refused without a workflow
        try:
            client = await connected(servers.temporal, keys)
        except RuntimeError as error:
            raise StackError(unreachable(servers.temporal, error)) from error
        return await Sender(client, engine, seals=Seals(keys)).screen_party(of.tenant, of.party)
    finally:
        engine.dispose()
