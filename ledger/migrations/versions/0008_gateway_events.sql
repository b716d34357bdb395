-- What payment providers tell by themselves: stored before they are answered, applied afterwards. Source: edge cases 13-18.

-- The API verifies a signature, adds a row and can do nothing else here; workers decide what it means. Of the provider's
-- message only what is needed is kept, and none of it names a person.
CREATE TABLE gateway_event (
    number           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider         text NOT NULL,
    id               text NOT NULL CHECK (length(id) <= 200),
    type             text NOT NULL CHECK (length(type) <= 100),
    created          timestamptz NOT NULL,                    -- when the provider says that it happened
    subject          text CHECK (length(subject) <= 100),     -- its word for the kind of object
    reference        text CHECK (length(reference) <= 200),   -- its id of the object
    key              text CHECK (length(key) <= 200),         -- the key of our operation, where the object carries one
    details          json NOT NULL CHECK (length(details::text) <= 2000),
    received_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'applied', 'ignored', 'refused')),
    attempts         integer NOT NULL DEFAULT 0,
    next_attempt_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_error       text,                                    -- why it waits, was ignored or refused
    applied_at       timestamptz CHECK ((applied_at IS NOT NULL) = (status <> 'pending')),
    CONSTRAINT gateway_event_once UNIQUE (provider, id)
);
CREATE INDEX gateway_event_due ON gateway_event (next_attempt_at, number) WHERE status = 'pending';
CREATE INDEX gateway_event_refused ON gateway_event (number) WHERE status = 'refused';

GRANT INSERT (provider, id, type, created, subject, reference, key, details) ON gateway_event TO {api_role};
GRANT SELECT, UPDATE (status, attempts, next_attempt_at, last_error, applied_at) ON gateway_event TO {app_role};

-- A provider's event belongs to no tenant before it was looked at: the API sees none of them.
ALTER TABLE gateway_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY every_tenant ON gateway_event TO {app_role} USING (true) WITH CHECK (true);
CREATE POLICY told_by_the_provider ON gateway_event FOR INSERT TO {api_role} WITH CHECK (status = 'pending');
