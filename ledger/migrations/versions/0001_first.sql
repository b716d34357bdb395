-- The books and what they are about. Read docs/ledger.md beside this.
--
-- Two roles: the one that runs this file owns everything; the program's role owns nothing and gets only what is
-- granted at the end. What must hold about money is held here, so that a bug in the program cannot break it.

CREATE TABLE tenant (
    id                  text PRIMARY KEY,
    name                text NOT NULL,
    mode                text NOT NULL CHECK (mode IN ('test', 'live')),
    reporting_currency  text NOT NULL,
    clock_offset        bigint NOT NULL DEFAULT 0 CHECK (clock_offset BETWEEN 0 AND 3153600000),  -- seconds the test clock is ahead
    created_at          timestamptz NOT NULL DEFAULT now(),
    CHECK (mode = 'test' OR clock_offset = 0)
);

CREATE TABLE party (
    tenant_id           text NOT NULL REFERENCES tenant,
    id                  text NOT NULL,
    name                text,
    payout_destination  text,
    created_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE policy (
    tenant_id   text NOT NULL REFERENCES tenant,
    kind        text NOT NULL,
    version     integer NOT NULL CHECK (version > 0),
    document    json NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, kind, version)
);

CREATE TABLE escrow (
    id          text PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenant,
    buyer       text NOT NULL,
    seller      text NOT NULL CHECK (seller <> buyer),
    amount      bigint NOT NULL CHECK (amount > 0),
    currency    text NOT NULL,
    category    text NOT NULL,
    title       text NOT NULL,
    state       text NOT NULL,
    version     bigint NOT NULL CHECK (version > 0),
    funded      bigint NOT NULL CHECK (funded >= 0),
    held        bigint NOT NULL CHECK (held >= 0),
    disputed    bigint NOT NULL CHECK (disputed >= 0),
    released    bigint NOT NULL CHECK (released >= 0),
    refunded    bigint NOT NULL CHECK (refunded >= 0),
    release     json NOT NULL,
    metadata    json NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CHECK (funded = held + disputed + released + refunded)
);
CREATE INDEX escrow_by_tenant ON escrow (tenant_id, id);
CREATE INDEX escrow_by_buyer ON escrow (tenant_id, buyer, currency);

CREATE TABLE milestone (
    id           text PRIMARY KEY,
    escrow_id    text NOT NULL REFERENCES escrow,
    position     integer NOT NULL,
    title        text NOT NULL,
    description  text,
    amount       bigint NOT NULL CHECK (amount > 0),
    reversed     bigint NOT NULL CHECK (reversed BETWEEN 0 AND amount),
    due          date,
    status       text NOT NULL,
    generation   integer NOT NULL,
    evidence     json NOT NULL,
    rejection    text,
    withdrawn    boolean NOT NULL  -- amended away before funding: no part of the agreement any more
);
CREATE INDEX milestone_by_escrow ON milestone (escrow_id);

CREATE TABLE dispute (
    id           text PRIMARY KEY,
    escrow_id    text NOT NULL REFERENCES escrow,
    raised_by    text NOT NULL,
    reason       text NOT NULL,
    description  text NOT NULL,
    evidence     json NOT NULL,
    milestones   json NOT NULL,
    amount       bigint NOT NULL CHECK (amount > 0),
    status       text NOT NULL,
    came_from    text NOT NULL,
    resolution   text,
    details      text,
    resolved_by  text
);
CREATE INDEX dispute_by_escrow ON dispute (escrow_id);
CREATE UNIQUE INDEX one_open_dispute ON dispute (escrow_id) WHERE status IN ('open', 'under_review');

CREATE TABLE deadline (
    id          text PRIMARY KEY,
    escrow_id   text NOT NULL REFERENCES escrow,
    milestone   text NOT NULL REFERENCES milestone,
    kind        text NOT NULL,
    generation  integer NOT NULL,
    due_at      timestamptz NOT NULL,
    pending     boolean NOT NULL,
    deferred_because text
);
CREATE INDEX deadline_pending ON deadline (escrow_id, due_at) WHERE pending;

-- Every command that was decided, with what became of it: an id is decided once, whoever repeats it.
CREATE TABLE command (
    tenant_id    text NOT NULL REFERENCES tenant,
    id           text NOT NULL,
    escrow_id    text NOT NULL,
    name         text NOT NULL,
    input_hash   text NOT NULL,
    outcome      json NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE settlement (
    id                        text PRIMARY KEY,
    tenant_id                 text NOT NULL,
    escrow_id                 text NOT NULL REFERENCES escrow,
    command_id                text NOT NULL,
    milestone                 text REFERENCES milestone,
    dispute                   text REFERENCES dispute,
    outcome                   text NOT NULL CHECK (outcome IN ('release', 'refund', 'split', 'partial_refund', 'reversal')),
    currency                  text NOT NULL,
    total                     bigint NOT NULL CHECK (total > 0),
    platform_fee              bigint NOT NULL CHECK (platform_fee >= 0),
    seller_payout             bigint NOT NULL CHECK (seller_payout >= 0),
    buyer_refund              bigint NOT NULL CHECK (buyer_refund >= 0),
    fee_policy_version        integer NOT NULL,
    fee_rule                  text NOT NULL,
    fee_rate                  numeric NOT NULL,
    fee_steps                 json NOT NULL,
    projected_fee_returned    bigint NOT NULL DEFAULT 0,
    projected_payout_reduced  bigint NOT NULL DEFAULT 0,
    created_at                timestamptz NOT NULL,
    CHECK (total = platform_fee + seller_payout + buyer_refund),
    CONSTRAINT one_settlement_per_command UNIQUE (tenant_id, command_id)
);
CREATE INDEX settlement_by_escrow ON settlement (escrow_id);

-- A milestone is settled for good once: released, refunded or divided. Partial reversals before that are not listed.
CREATE TABLE settled_milestone (
    milestone_id   text PRIMARY KEY REFERENCES milestone,
    settlement_id  text NOT NULL REFERENCES settlement
);

CREATE TABLE payout (
    id           text PRIMARY KEY,
    escrow_id    text NOT NULL REFERENCES escrow,
    settlement   text NOT NULL UNIQUE REFERENCES settlement,
    milestones   json NOT NULL,
    party        text NOT NULL,
    destination  text,
    amount       bigint NOT NULL CHECK (amount > 0),
    status       text NOT NULL,
    generation   integer NOT NULL CHECK (generation > 0),
    reference    text,
    reason       text
);
CREATE INDEX payout_by_escrow ON payout (escrow_id);

-- Money coming in from a buyer's payment method; credited to the wallet once.
CREATE TABLE charge (
    id              text PRIMARY KEY,
    tenant_id       text NOT NULL REFERENCES tenant,
    party           text NOT NULL,
    amount          bigint NOT NULL CHECK (amount > 0),
    currency        text NOT NULL,
    payment_method  text NOT NULL,
    status          text NOT NULL CHECK (status IN ('pending', 'succeeded', 'declined')),
    reference       text,
    reason          text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);

-- Accounts -------------------------------------------------------------------------------------------------------

CREATE TABLE account_kind (
    kind         text PRIMARY KEY,
    normal_side  text NOT NULL CHECK (normal_side IN ('debit', 'credit')),
    has_floor    boolean NOT NULL
);
INSERT INTO account_kind VALUES
    ('gateway_cash', 'debit', false), ('wallet', 'credit', true), ('escrow_hold', 'credit', true),
    ('disputed_funds', 'credit', true), ('payable', 'credit', true), ('payout_in_transit', 'credit', true),
    ('fee_revenue', 'credit', false), ('dispute_fee_revenue', 'credit', false), ('receivable', 'debit', false),
    ('chargeback_hold', 'credit', true), ('platform_loss', 'debit', false);

-- One row per account with a floor, kept by the trigger below and by nobody else. Accounts without a floor have no
-- row: their balance is the sum of their entries, so a busy platform's fee account is never locked.
CREATE TABLE account (
    tenant_id  text NOT NULL REFERENCES tenant,
    kind       text NOT NULL REFERENCES account_kind,
    owner      text NOT NULL,
    currency   text NOT NULL,
    balance    bigint NOT NULL DEFAULT 0 CONSTRAINT never_below_zero CHECK (balance >= 0),
    PRIMARY KEY (tenant_id, kind, owner, currency)
);

CREATE TABLE ledger_transaction (
    id           text PRIMARY KEY,
    tenant_id    text NOT NULL REFERENCES tenant,
    escrow_id    text REFERENCES escrow,
    command_id   text NOT NULL,
    settlement_id text REFERENCES settlement,
    memo         text NOT NULL,
    posted_at    timestamptz NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    recorded_by  xid8 NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (id, tenant_id)
);
CREATE INDEX ledger_transaction_by_escrow ON ledger_transaction (escrow_id);

CREATE TABLE entry (
    id              text PRIMARY KEY,
    transaction_id  text NOT NULL,
    tenant_id       text NOT NULL,
    account_kind    text NOT NULL,
    owner           text NOT NULL,
    currency        text NOT NULL,
    direction       text NOT NULL CHECK (direction IN ('debit', 'credit')),
    amount          bigint NOT NULL CHECK (amount > 0),
    FOREIGN KEY (transaction_id, tenant_id) REFERENCES ledger_transaction (id, tenant_id)
);
CREATE INDEX entry_by_transaction ON entry (transaction_id);
CREATE INDEX entry_by_account ON entry (tenant_id, account_kind, owner, currency);

CREATE TABLE audit (
    id              text PRIMARY KEY,
    tenant_id       text NOT NULL REFERENCES tenant,
    escrow_id       text NOT NULL,
    command_id      text NOT NULL,
    name            text NOT NULL,
    actor_role      text NOT NULL,
    actor_party     text,
    ip              inet,
    user_agent      text,
    details         json NOT NULL,
    outcome         text NOT NULL,
    message         text,
    before_version  bigint NOT NULL,
    after_version   bigint NOT NULL,
    received_at     timestamptz NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_by_escrow ON audit (escrow_id, id);

CREATE TABLE event (
    id           text PRIMARY KEY,
    tenant_id    text NOT NULL REFERENCES tenant,
    escrow_id    text NOT NULL,
    version      bigint NOT NULL,
    position     integer NOT NULL,
    type         text NOT NULL,
    data         json NOT NULL,
    occurred_at  timestamptz NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX event_by_escrow ON event (escrow_id, version, position);

-- What PostgreSQL itself refuses ----------------------------------------------------------------------------------

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or deleted: record a correction as new rows', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

DO $$
DECLARE append_only_table text;
BEGIN
    FOREACH append_only_table IN ARRAY ARRAY['entry', 'ledger_transaction', 'settlement', 'settled_milestone', 'audit',
                                     'policy', 'command', 'event', 'account_kind'] LOOP
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
                        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', append_only_table);
    END LOOP;
END $$;

-- At commit, every transaction's debits equal its credits, in each currency.
CREATE FUNCTION refuse_unbalanced() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM entry WHERE transaction_id = NEW.transaction_id GROUP BY currency
               HAVING sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END) <> 0) THEN
        RAISE EXCEPTION 'ledger transaction % does not balance', NEW.transaction_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_unbalanced();

-- Entries move the balances of accounts that have a floor, account by account in one order for everyone: two
-- transactions over the same accounts wait for each other and never deadlock. An account's row is made when it is new.
CREATE FUNCTION move_balances() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE moved record;
BEGIN
    IF EXISTS (SELECT FROM posted p WHERE pg_current_xact_id() <>
               (SELECT t.recorded_by FROM ledger_transaction t WHERE t.id = p.transaction_id)) THEN
        RAISE EXCEPTION 'entries join a ledger transaction only when it is recorded'
            USING ERRCODE = 'restrict_violation';
    END IF;
    FOR moved IN
        SELECT p.tenant_id, p.account_kind, p.owner, p.currency, k.has_floor,
               sum(CASE WHEN p.direction = k.normal_side THEN p.amount ELSE -p.amount END)::bigint AS amount
        FROM posted p LEFT JOIN account_kind k ON k.kind = p.account_kind
        WHERE k.has_floor IS NOT FALSE
        GROUP BY 1, 2, 3, 4, 5
        ORDER BY 1, 2, 3, 4
    LOOP
        IF moved.has_floor IS NULL THEN
            RAISE EXCEPTION 'unknown kind of account' USING ERRCODE = 'foreign_key_violation';
        END IF;
        LOOP
            UPDATE account a SET balance = a.balance + moved.amount
                WHERE (a.tenant_id, a.kind, a.owner, a.currency)
                    = (moved.tenant_id, moved.account_kind, moved.owner, moved.currency);
            EXIT WHEN FOUND;
            INSERT INTO account (tenant_id, kind, owner, currency)
                VALUES (moved.tenant_id, moved.account_kind, moved.owner, moved.currency) ON CONFLICT DO NOTHING;
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER move_balances AFTER INSERT ON entry
    REFERENCING NEW TABLE AS posted FOR EACH STATEMENT EXECUTE FUNCTION move_balances();

-- The program may lock a wallet and read it, without the right to change it.
CREATE FUNCTION lock_wallet(tenant text, party text, of_currency text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE available bigint;
BEGIN
    SELECT balance INTO available FROM account
        WHERE tenant_id = tenant AND kind = 'wallet' AND owner = party AND currency = of_currency FOR UPDATE;
    RETURN coalesce(available, 0);
END $$;

-- Every account's balance on its normal side, from the entries alone.
CREATE VIEW account_balance WITH (security_invoker = on) AS
    SELECT e.tenant_id, e.account_kind, e.owner, e.currency, k.normal_side,
           sum(CASE WHEN e.direction = k.normal_side THEN e.amount ELSE -e.amount END)::bigint AS balance
    FROM entry e JOIN account_kind k ON k.kind = e.account_kind
    GROUP BY 1, 2, 3, 4, 5;

-- What the program's role may do ----------------------------------------------------------------------------------

REVOKE ALL ON FUNCTION move_balances(), refuse_unbalanced(), lock_wallet(text, text, text) FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO {app_role};
GRANT EXECUTE ON FUNCTION lock_wallet(text, text, text) TO {app_role};
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {app_role};
GRANT INSERT ON policy, command, settlement, settled_milestone, entry, audit, event TO {app_role};
GRANT INSERT (id, tenant_id, escrow_id, command_id, settlement_id, memo, posted_at) ON ledger_transaction TO {app_role};
GRANT INSERT, UPDATE ON party, escrow, milestone, dispute, deadline, payout, charge TO {app_role};
GRANT INSERT, UPDATE (clock_offset) ON tenant TO {app_role};
