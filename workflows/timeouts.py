"""Every timeout and every retry policy, and the order between them.

HTTP timeout (settings, at most 7 s) < start-to-close of a gateway call, which may make four; statement timeout
(ledger.engine, 15 s) < start-to-close of the books: an attempt has ended before the next one begins.
"""

from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy

TASK_QUEUE: Final = "holdfast"
GATEWAY_TASK_QUEUE: Final = "holdfast-gateway"
NOTIFICATIONS_TASK_QUEUE: Final = "holdfast-notifications"
RATES_TASK_QUEUE: Final = "holdfast-rates"
SCREENING_TASK_QUEUE: Final = "holdfast-screening"
WEBHOOKS_TASK_QUEUE: Final = "holdfast-webhooks"
GATEWAY_EVENTS_TASK_QUEUE: Final = "holdfast-gateway-events"

BOOKS_START_TO_CLOSE: Final = timedelta(seconds=30)
GATEWAY_START_TO_CLOSE: Final = timedelta(seconds=30)  # also how long a worker's death in a call goes unnoticed

# A local activity holds the workflow task, so it is given about a second; then a regular activity takes over, which
# operations people see as pending, with its last failure, until PostgreSQL is back.
BOOKS_BRIEFLY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), backoff_coefficient=2.0, maximum_attempts=4
)
BOOKS_UNTIL_BACK: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))

# The gateway answers "unknown" as a value; what is retried here is a worker that died, or a wrong configuration. After
# this while the outcome is asked for instead of sent again, long before the provider forgets the key.
GATEWAY_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5))
GATEWAY_SEND_FOR: Final = timedelta(hours=6)

# Asking moves nothing, so it goes on for as long as it takes.
ASK_AGAIN: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5))
# A provider may repeat a stored error for a day while it has nothing to show: then back off, the history is finite.
RESEND_FIRST: Final = timedelta(seconds=5)
RESEND_LAST: Final = timedelta(hours=1)

WAIT_FOR_CREATE: Final = timedelta(minutes=1)
FOLLOW_EVERY: Final = timedelta(minutes=5)
FOLLOW_AT_LEAST_EVERY: Final = timedelta(hours=6)

# A refresh of exchange rates is one small HTTP request; its source may be away for hours, and the next day brings
# another refresh, which a run that still tries would keep from starting.
RATES_TIMEOUT: Final = timedelta(seconds=15)
RATES_START_TO_CLOSE: Final = timedelta(minutes=1)
RATES_KEEP_TRYING: Final = timedelta(hours=20)
RATES_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=15))
RATES_CATCH_UP: Final = timedelta(hours=20)  # for how long a refresh that Temporal was away for is made up

# A provider may be away for days; until it answers nothing changes about the party, so asking goes on. Between attempts
# the party is read anew.
SCREENING_LANES: Final = 4  # activities side by side; a worker has as many threads and connections for them
SCREENING_START_TO_CLOSE: Final = timedelta(minutes=1)
SCREENING_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5))
SCREENING_BOOKS_RETRY: Final = BOOKS_UNTIL_BACK

# What the provider tells: one activity looks for events that are due for about a minute; each is then looked into, by a
# question to the provider and some to the books, and the workflow carries out what follows. The lease outlives that.
GATEWAY_EVENTS_LANES: Final = 5  # activities side by side; a worker has as many threads and connections for them
GATEWAY_EVENTS_ROUNDS: Final = 300
GATEWAY_EVENTS_AT_ONCE: Final = 10
GATEWAY_EVENTS_LEASE: Final = timedelta(minutes=5)
GATEWAY_EVENTS_START_TO_CLOSE: Final = timedelta(minutes=2)
GATEWAY_EVENTS_HEARTBEAT: Final = timedelta(seconds=30)
# A question to the provider, or one to the books: a worker's death in one keeps the other events waiting for so long.
GATEWAY_EVENT_START_TO_CLOSE: Final = timedelta(seconds=40)
GATEWAY_EVENT_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=4)
GATEWAY_EVENT_STEPS: Final = 6  # open and close a chargeback, and some that a rival makes necessary

# Telling the news: each activity drains the outbox for about a minute and reports after every event, of which one
# takes at most half a minute and a slow mail. PostgreSQL being away is waited for by the retries.
DELIVERY_LANES: Final = 2  # activities side by side; a worker has as many threads and connections for them
DELIVERY_ROUNDS: Final = 300
DELIVERY_START_TO_CLOSE: Final = timedelta(minutes=5)
DELIVERY_HEARTBEAT: Final = timedelta(seconds=45)
DELIVERY_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))

# Webhooks: each activity posts what is due for about a minute and reports before every call, of which one takes at most
# 5 seconds for the name and 15 for the rest. A lane more gives events their numbers.
WEBHOOKS_LANES: Final = 8  # calls side by side, on however many workers; a worker has as many threads for them
WEBHOOKS_CONNECTIONS: Final = 4  # none is held during a call
WEBHOOKS_ROUNDS: Final = 100
WEBHOOKS_START_TO_CLOSE: Final = timedelta(minutes=5)
WEBHOOKS_HEARTBEAT: Final = timedelta(seconds=45)
WEBHOOKS_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30))

# Reconciliation: a statement is read in parts of about a minute, each report of progress a page; comparing is one query
# over the books and may take minutes, in which the activity goes on reporting that it lives. A provider that is away is
# waited for until the day is half over; the next round brings another try.
RECONCILIATION_TASK_QUEUE: Final = "holdfast-reconciliation"
RECONCILIATION_LANES: Final = 2  # activities side by side; a worker has as many threads and connections for them
RECONCILIATION_CONNECTIONS: Final = 4
RECONCILIATION_READ: Final = timedelta(minutes=5)
RECONCILIATION_WITHIN: Final = timedelta(hours=20)  # whatever keeps it: then the next day's round takes over
RECONCILIATION_PROVIDER_AWAY: Final = timedelta(hours=12)
RECONCILIATION_COMPARE: Final = timedelta(hours=1)
RECONCILIATION_HEARTBEAT: Final = timedelta(seconds=45)
RECONCILIATION_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=5))
RECONCILIATION_TRIES: Final = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5)
RECONCILIATION_SHORT: Final = timedelta(minutes=1)
RECONCILIATION_HEALS_WITHIN: Final = timedelta(minutes=2)  # what was set right shows in the same round, or in the next
RECONCILIATION_HEALS_LOOK: Final = timedelta(seconds=2)
RECONCILIATION_CATCH_UP: Final = timedelta(hours=20)  # for how long a round that Temporal was away for is made up
