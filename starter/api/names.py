"""Names looked up in DNS, apart from all other work: a name server that never answers holds up nothing but itself."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Final

from starter.api.problems import ProblemError

AT_ONCE: Final = 16
_OF_ONE_TENANT: Final = 2
_SECONDS: Final = 5.0

LookUp = Callable[[str, int], Sequence[tuple[Any, ...]]]


def _look_up(host: str, port: int) -> Sequence[tuple[Any, ...]]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Names:
    """Looks names up in threads of its own, few at a time for each tenant.

    A thread that waits for a name server cannot be stopped: it counts until the system's resolver gives up.
    """

    def __init__(self, look_up: LookUp = _look_up) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="names")
        self._under_way = Counter[str]()
        self._lock = Lock()

    async def addresses(self, tenant: str, host: str, port: int) -> list[str]:
        """Where a name leads now; nowhere if that cannot be found out in time.

        Raises ``ProblemError``: 429 while two of the tenant's names are looked up, 503 while too many of all are.
        """
        self._begin(tenant)
        looking = self._threads.submit(self._look_up, host, port)
        looking.add_done_callback(lambda _: self._end(tenant))
        try:
            found = await asyncio.wait_for(asyncio.wrap_future(looking), _SECONDS)
        except (OSError, UnicodeError, TimeoutError):
            return []
        return [str(one[4][0]) for one in found]

    def close(self) -> None:
        """Take no more; what is looked up is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, tenant: str) -> None:
        busy = {"Retry-After": str(round(_SECONDS))}
        with self._lock:
            if self._under_way[tenant] >= _OF_ONE_TENANT:
                detail = f"{_OF_ONE_TENANT} names of yours are being looked up in DNS already: wait for those"
                raise ProblemError(429, detail, headers=busy)
            if self._under_way.total() >= AT_ONCE:
                raise ProblemError(503, "too many names are being looked up in DNS: ask again soon", headers=busy)
            self._under_way[tenant] += 1

    def _end(self, tenant: str) -> None:
        with self._lock:
            self._under_way[tenant] -= 1
            self._under_way += Counter()  # forget tenants at 0
