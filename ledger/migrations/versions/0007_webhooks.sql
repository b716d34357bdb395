-- Webhooks: a number for each event of a tenant, where tenants want them posted, and what became of each posting.

-- What happens to a tenant rather than to an escrow is an event too: an endpoint that is switched off.
ALTER TABLE event ALTER COLUMN escrow_id DROP NOT NULL;
ALTER TABLE notification ALTER COLUMN escrow_id DROP NOT NULL;

-- The feed: events of a tenant by a number without gaps. It is given after the event was committed, by one process at a
-- time, so that no command waits for another to number its events: whoever has seen a number will see no smaller one.
CREATE TABLE numbered_event (
    tenant_id  text NOT NULL REFERENCES tenant,
    sequence   bigint NOT NULL CHECK (sequence > 0),
    event_id   text NOT NULL UNIQUE,
    type       text NOT NULL,
    PRIMARY KEY (tenant_id, sequence)
);
CREATE INDEX numbered_event_by_type ON numbered_event (tenant_id, type, sequence);
INSERT INTO numbered_event (tenant_id, sequence, event_id, type)
    SELECT tenant_id, row_number() OVER (PARTITION BY tenant_id
                                         ORDER BY recorded_at, escrow_id, version, type = 'command.refused', position, id),
           id, type
    FROM event;

-- Events that have no number yet, in the order of each escrow's events. Apart from the outbox: a mail server that is away
-- holds back an escrow's mail, and nobody's webhooks.
CREATE TABLE unnumbered_event (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id   text NOT NULL,
    tenant_id  text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

-- As in 0005, but for the number; and an event of no escrow waits for no other one.
CREATE OR REPLACE FUNCTION fill_outbox() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO outbox (event_id, tenant_id, escrow_id, next_attempt_at)
        SELECT h.id, h.tenant_id, coalesce(h.escrow_id, h.id),
               -- The last of the escrow's rows waits as long as any. Not max(): its plan reads the whole queue by time.
               greatest(now(), (SELECT o.next_attempt_at FROM outbox o WHERE o.escrow_id = h.escrow_id
                                ORDER BY o.escrow_id, o.number DESC LIMIT 1))
        FROM happened h ORDER BY h.version, h.type = 'command.refused', h.position, h.id;
    INSERT INTO unnumbered_event (event_id, tenant_id)
        SELECT h.id, h.tenant_id FROM happened h ORDER BY h.version, h.type = 'command.refused', h.position, h.id;
    RETURN NULL;
END $$;

-- Where a tenant wants its events posted. Secrets are encrypted (ledger/keyring.py); while two are there, both sign.
CREATE TABLE webhook_endpoint (
    id                text PRIMARY KEY,
    tenant_id         text NOT NULL REFERENCES tenant,
    url               text NOT NULL CHECK (length(url) <= 2000),
    description       text NOT NULL DEFAULT '',
    events            text[] NOT NULL CHECK (cardinality(events) BETWEEN 1 AND 50),
    status            text NOT NULL DEFAULT 'enabled' CHECK (status IN ('enabled', 'disabled')),
    disabled_because  text CHECK ((disabled_because IS NOT NULL) = (status = 'disabled')),
    disabled_at       timestamptz,
    secret            bytea NOT NULL,
    previous_secret   bytea,
    previous_until    timestamptz,
    failures          integer NOT NULL DEFAULT 0,  -- since the last success
    failing_since     timestamptz,
    leased_until      timestamptz,                 -- somebody calls it; should that process die, until then
    rest_until        timestamptz,
    called_at         timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT failures_begin CHECK ((failures = 0) = (failing_since IS NULL)),
    CONSTRAINT previous_ends CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
CREATE INDEX webhook_endpoint_by_tenant ON webhook_endpoint (tenant_id, id);

CREATE TABLE webhook_delivery (
    id               text PRIMARY KEY,
    tenant_id        text NOT NULL REFERENCES tenant,
    endpoint_id      text NOT NULL REFERENCES webhook_endpoint ON DELETE CASCADE,
    event_id         text NOT NULL REFERENCES event,
    sequence         bigint NOT NULL,
    status           text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts         integer NOT NULL DEFAULT 0,
    next_attempt_at  timestamptz DEFAULT now() CHECK ((next_attempt_at IS NOT NULL) = (status = 'pending')),
    last_attempt_at  timestamptz,
    last_status      integer,
    last_error       text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz CHECK ((finished_at IS NULL) = (status = 'pending'))
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, next_attempt_at, sequence) WHERE status = 'pending';
CREATE INDEX webhook_delivery_by_endpoint ON webhook_delivery (endpoint_id, id);
CREATE INDEX webhook_delivery_finished ON webhook_delivery (finished_at) WHERE status <> 'pending';

-- Whether a list of types such as {payout.*,escrow.funded} has a type.
CREATE FUNCTION wants(types text[], type text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '*' = ANY (types) OR type = ANY (types) OR split_part(type, '.', 1) || '.*' = ANY (types)
$$;

GRANT SELECT, INSERT ON numbered_event TO {app_role};
GRANT SELECT, DELETE ON unnumbered_event TO {app_role};
GRANT SELECT, UPDATE (status, disabled_because, disabled_at, failures, failing_since, leased_until, rest_until, called_at)
    ON webhook_endpoint TO {app_role};
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_delivery TO {app_role};
GRANT SELECT ON numbered_event TO {api_role};
GRANT SELECT, DELETE, INSERT (id, tenant_id, url, description, events, secret), UPDATE (url, description, events, status,
    disabled_because, disabled_at, secret, previous_secret, previous_until, failures, failing_since, rest_until)
    ON webhook_endpoint TO {api_role};
GRANT SELECT, INSERT (id, tenant_id, endpoint_id, event_id, sequence), UPDATE (next_attempt_at)
    ON webhook_delivery TO {api_role};

SELECT keep_apart('numbered_event', 'tenant_id = current_tenant()');
SELECT keep_apart('unnumbered_event', 'tenant_id = current_tenant()');
SELECT keep_apart('webhook_endpoint', 'tenant_id = current_tenant()');
SELECT keep_apart('webhook_delivery', 'tenant_id = current_tenant()');
