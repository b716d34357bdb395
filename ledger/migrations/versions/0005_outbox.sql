-- The outbox: what happened and was not told yet; and a record of what was told to whom. Source: domain.md, section 12.

-- One row per event, until it was handed to every channel. Its key refers to an event, which nobody can delete; a
-- foreign key would only check on every command what the trigger below makes true.
CREATE TABLE outbox (
    event_id         text PRIMARY KEY,
    number           bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id        text NOT NULL,
    escrow_id        text NOT NULL,
    attempts         integer NOT NULL DEFAULT 0,
    next_attempt_at  timestamptz NOT NULL DEFAULT now(),
    last_error       text
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);  -- rows come and go
-- An escrow's rows are numbered in the order of its events: whoever writes one holds the lock on the escrow's row.
CREATE INDEX outbox_in_order ON outbox (escrow_id, number);
CREATE INDEX outbox_due ON outbox (next_attempt_at, number);

-- Filled here, so that no writer of events can forget it and a command stays one statement. Events from before this
-- migration are old news and are not told. Behind an event that is put off, the next one waits as long; its plan is made
-- when the outbox may be empty and then kept, so it must not be to read all of it.
CREATE FUNCTION fill_outbox() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO outbox (event_id, tenant_id, escrow_id, next_attempt_at)
        SELECT h.id, h.tenant_id, h.escrow_id,
               -- The last of the escrow's rows waits as long as any. Not max(): its plan reads the whole queue by time.
               greatest(now(), (SELECT o.next_attempt_at FROM outbox o WHERE o.escrow_id = h.escrow_id
                                ORDER BY o.escrow_id, o.number DESC LIMIT 1))
        FROM happened h ORDER BY h.version, h.type = 'command.refused', h.position, h.id;
    RETURN NULL;
END $$;
CREATE TRIGGER fill_outbox AFTER INSERT ON event
    REFERENCING NEW TABLE AS happened FOR EACH STATEMENT EXECUTE FUNCTION fill_outbox();

-- What was handed to a channel for whom, or definitely could not be. Neither address nor text: those are personal.
CREATE TABLE notification (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id        text NOT NULL REFERENCES event,
    tenant_id       text NOT NULL REFERENCES tenant,
    escrow_id       text NOT NULL,
    channel         text NOT NULL,
    recipient_role  text NOT NULL CHECK (recipient_role IN ('buyer', 'seller', 'operator')),
    party           text,
    language        text NOT NULL,
    subject         text NOT NULL,
    status          text NOT NULL CHECK (status IN ('sent', 'undeliverable')),
    attempts        integer NOT NULL CHECK (attempts > 0),
    error           text CHECK ((error IS NOT NULL) = (status = 'undeliverable')),
    sent_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT told_once UNIQUE NULLS NOT DISTINCT (event_id, channel, recipient_role, party)
);
CREATE INDEX notification_by_escrow ON notification (escrow_id, id);

-- How a party is reached. Without a language it is English; without an address there is no mail.
ALTER TABLE party
    ADD COLUMN email text CHECK (length(email) <= 254 AND email ~ '^[^[:space:][:cntrl:]@]+@[^[:space:][:cntrl:]@]+$'),
    ADD COLUMN language text CHECK (language IN ('en', 'th'));

REVOKE ALL ON FUNCTION fill_outbox() FROM PUBLIC;
GRANT SELECT, DELETE, UPDATE (attempts, next_attempt_at, last_error) ON outbox TO {app_role};
GRANT SELECT, INSERT ON notification TO {app_role};
