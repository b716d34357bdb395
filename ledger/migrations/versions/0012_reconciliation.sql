-- The provider's books beside ours, how they differ, and what was corrected. Read docs/reconciliation.md beside this.

-- Where money stands that one side has booked and the other cannot explain: debited and credited by corrections alone.
INSERT INTO account_kind VALUES ('suspense', 'credit', false);

-- Every movement of the provider's balance, as the provider tells it: copied once, never changed.
CREATE TABLE provider_line (
    provider    text NOT NULL,
    id          text NOT NULL CHECK (length(id) <= 200),
    type        text NOT NULL CHECK (length(type) <= 100),    -- the provider's own word
    kind        text NOT NULL CHECK (kind IN ('charge', 'payout', 'payout_return', 'contested', 'other')),
    amount      bigint NOT NULL,                              -- signed, in our minor units; before the provider's fee
    fee         bigint NOT NULL,                              -- what the provider kept of it
    currency    text NOT NULL CHECK (length(currency) BETWEEN 1 AND 20), -- small: the provider's own word and units
    source      text CHECK (length(source) <= 200),           -- the provider's id of what moved
    subject     text CHECK (length(subject) <= 200),          -- a charge's id, a payout's key, a dispute's reference
    key         text CHECK (length(key) <= 200),              -- our key of the operation that it belongs to
    destination text CHECK (length(destination) <= 200),      -- whose account a payout went to
    created_at  timestamptz NOT NULL,                         -- when the provider says that it moved
    read_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (provider, id)
);
CREATE INDEX provider_line_by_subject ON provider_line (provider, kind, subject);
CREATE INDEX provider_line_by_source ON provider_line (provider, source);
CREATE INDEX chargeback_by_reference ON chargeback (reference);

-- One reading and comparing of everything.
CREATE TABLE reconciliation (
    id           text PRIMARY KEY,
    provider     text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    read_up_to   timestamptz,                                 -- lines up to this moment were read
    summary      json NOT NULL DEFAULT '{}',                  -- counts and balances, for people: models/reconciliation.py
    failed       text                                         -- why it could not be finished
);
CREATE INDEX reconciliation_by_time ON reconciliation (provider, started_at);

-- Something that does not agree. The same thing found again is the same row, as long as it is open.
CREATE TABLE difference (
    id           text PRIMARY KEY,
    provider     text NOT NULL,
    compared     text NOT NULL CHECK (compared IN ('provider', 'workflows', 'books')),
    cause        text NOT NULL CHECK (cause IN ('missing_here', 'missing_there', 'amount_differs', 'duplicate', 'late',
                                                'misdirected', 'unknown_outcome', 'not_running', 'behind', 'stuck', 'unsound')),
    kind         text,                                        -- as in provider_line, where it is about such a movement
    subject      text NOT NULL,                               -- what it is about: as in provider_line, or an escrow's id
    tenant_id    text REFERENCES tenant,
    escrow_id    text REFERENCES escrow,
    ours         bigint,                                      -- what our books say, signed as gateway_cash is
    theirs       bigint,                                      -- what the provider says
    currency     text,
    since        timestamptz NOT NULL,                        -- when the first of the two sides booked it: its age
    says         text NOT NULL,                               -- in words, for people
    remedy       text NOT NULL,                               -- what is proposed, for people
    first_seen   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen    timestamptz NOT NULL DEFAULT clock_timestamp(),
    status       text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'healed', 'corrected')),
    closed_at    timestamptz CHECK ((closed_at IS NOT NULL) = (status <> 'open')),
    closed_why   text
);
CREATE UNIQUE INDEX difference_once ON difference (provider, compared, coalesce(kind, ''), subject, coalesce(currency, ''))
    WHERE status = 'open';
CREATE INDEX difference_open ON difference (since) WHERE status = 'open';

-- New balanced entries for what a difference moved, with a reason, and above a limit by two people. What was proposed
-- stays as it was proposed; a decision is made once.
CREATE TABLE correction (
    id              text PRIMARY KEY,
    difference_id   text NOT NULL REFERENCES difference,
    tenant_id       text NOT NULL REFERENCES tenant,          -- whose books the entries are in
    amount          bigint NOT NULL CHECK (amount <> 0),      -- by which gateway_cash rises, in minor units; less than 0: falls
    currency        text NOT NULL,
    ours            bigint,                                   -- what the difference said when it was proposed
    theirs          bigint,
    reason          text NOT NULL CHECK (length(reason) BETWEEN 1 AND 2000),
    needs_approval  boolean NOT NULL,
    proposed_by     text NOT NULL,
    proposed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    status          text NOT NULL DEFAULT 'proposed' CHECK (status IN ('proposed', 'booked', 'rejected')),
    decided_by      text,
    decided_at      timestamptz,
    decided_why     text,
    transaction_id  text UNIQUE REFERENCES ledger_transaction,
    CONSTRAINT no_more_than_differs CHECK (sign(amount) = sign(coalesce(theirs, 0) - coalesce(ours, 0))
        AND abs(amount) <= abs(coalesce(theirs, 0) - coalesce(ours, 0))),
    CONSTRAINT two_people CHECK (status <> 'booked' OR NOT needs_approval OR lower(decided_by) <> lower(proposed_by)),
    CONSTRAINT decided CHECK ((status = 'proposed') = (decided_by IS NULL) AND (decided_by IS NULL) = (decided_at IS NULL)),
    CONSTRAINT booked CHECK ((status = 'booked') = (transaction_id IS NOT NULL))
);
-- One at a time for each difference, and one that was booked is the last.
CREATE UNIQUE INDEX correction_once ON correction (difference_id) WHERE status <> 'rejected';
CREATE INDEX correction_waiting ON correction (proposed_at) WHERE status = 'proposed';

CREATE FUNCTION decide_correction_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status <> 'proposed' OR (OLD.id, OLD.difference_id, OLD.tenant_id, OLD.amount, OLD.currency, OLD.ours,
            OLD.theirs, OLD.reason, OLD.needs_approval, OLD.proposed_by, OLD.proposed_at)
        IS DISTINCT FROM (NEW.id, NEW.difference_id, NEW.tenant_id, NEW.amount, NEW.currency, NEW.ours,
            NEW.theirs, NEW.reason, NEW.needs_approval, NEW.proposed_by, NEW.proposed_at) THEN
        RAISE EXCEPTION 'a correction is decided once and otherwise never changed' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER decided_once BEFORE UPDATE ON correction FOR EACH ROW EXECUTE FUNCTION decide_correction_once();

-- Nobody but a correction posts to suspense, and a correction posts what it says. Checked at commit: then both are there.
CREATE FUNCTION refuse_unexplained() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM correction c JOIN difference d ON d.id = c.difference_id
        WHERE c.transaction_id = NEW.transaction_id
            AND (SELECT array_agg((e.tenant_id, e.account_kind, e.owner, e.currency,
                                   CASE e.direction WHEN 'debit' THEN e.amount ELSE -e.amount END) ORDER BY e.account_kind)
                 FROM entry e WHERE e.transaction_id = c.transaction_id)
              = ARRAY[(c.tenant_id, 'gateway_cash'::text, d.provider, c.currency, c.amount),
                      (c.tenant_id, 'suspense'::text, d.provider, c.currency, -c.amount)]) THEN
        RAISE EXCEPTION 'ledger transaction % is not what a correction says', NEW.transaction_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER explained AFTER INSERT ON entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.account_kind = 'suspense') EXECUTE FUNCTION refuse_unexplained();
CREATE CONSTRAINT TRIGGER explained AFTER INSERT OR UPDATE ON correction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'booked') EXECUTE FUNCTION refuse_unexplained();

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON provider_line
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_removed BEFORE DELETE OR TRUNCATE ON correction
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What a round finds out it has looked into as what the provider tells is: by an event that it writes itself.
CREATE INDEX gateway_event_of_reconciliation ON gateway_event (provider, reference) WHERE id LIKE 'reconciliation:%';
GRANT INSERT (provider, id, type, created, subject, reference, key, details) ON gateway_event TO {app_role};
-- Nobody but a round: whoever wrote one in advance would keep the round from looking.
ALTER POLICY told_by_the_provider ON gateway_event WITH CHECK (status = 'pending' AND NOT starts_with(id, 'reconciliation:'));

GRANT SELECT, INSERT ON provider_line TO {app_role};
GRANT SELECT, INSERT, UPDATE ON reconciliation, difference, correction TO {app_role};

-- The provider's books are those of all tenants together: only workers and operators see them.
DO $$
DECLARE one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['provider_line', 'reconciliation', 'difference', 'correction'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', one);
        EXECUTE format('CREATE POLICY every_tenant ON %I TO {app_role} USING (true) WITH CHECK (true)', one);
    END LOOP;
END $$;

-- For monitoring, as in migration 0010: what is open, since when (in seconds), and how long ago a round was finished.
CREATE FUNCTION reconciliation_figures() RETURNS TABLE (figure text, labels text[], value numeric)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT 'differences', ARRAY[d.compared, d.cause], count(*)::numeric
    FROM difference d WHERE d.status = 'open' GROUP BY d.compared, d.cause
    UNION ALL
    SELECT 'oldest_difference', ARRAY[]::text[], extract(epoch FROM now() - min(d.since))::numeric
    FROM difference d WHERE d.status = 'open'
    UNION ALL
    SELECT 'corrections_waiting', ARRAY[]::text[], count(*)::numeric FROM correction c WHERE c.status = 'proposed'
    UNION ALL
    SELECT 'reconciled', ARRAY[]::text[], extract(epoch FROM now() - max(r.finished_at))::numeric
    FROM reconciliation r WHERE r.failed IS NULL
$$;

REVOKE ALL ON FUNCTION refuse_unexplained(), reconciliation_figures() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reconciliation_figures() TO {api_role}, {app_role};

-- Charges whose outcome is not booked: a handful among millions, looked through by `holdfast repair` and each round.
CREATE INDEX charge_pending ON charge (id) WHERE status = 'pending';
