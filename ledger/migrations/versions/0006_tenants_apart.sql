-- Tenants kept apart by PostgreSQL itself, and what the HTTP API keeps: keys, and the answers to requests.
--
-- The API connects as a role of its own, which sees the rows of one tenant at a time: the one that a transaction names
-- in the setting holdfast.tenant. It owns nothing, so it cannot switch this off; a transaction that names none sees
-- nothing. Workers serve all tenants, through {app_role}. Read docs/security.md beside this.

CREATE FUNCTION current_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('holdfast.tenant', true), '')
$$;

-- A tenant of the API has two sets of books: the live ones, and those of its test keys.
ALTER TABLE tenant ADD COLUMN test_of text UNIQUE REFERENCES tenant;
ALTER TABLE tenant ADD CONSTRAINT rehearsals_are_tests CHECK (test_of IS NULL OR mode = 'test');

-- Who may come in -------------------------------------------------------------------------------------------------

CREATE TABLE api_key (
    id          text PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenant,
    role        text NOT NULL CHECK (role IN ('operator', 'platform', 'read_only')),
    name        text NOT NULL,
    hash        bytea NOT NULL UNIQUE CHECK (length(hash) = 32),  -- SHA-256; the key itself has 256 bits of chance
    ending      text NOT NULL,                                    -- its last characters, so that people can tell keys apart
    created_at  timestamptz NOT NULL DEFAULT now(),
    expires_at  timestamptz,
    revoked_at  timestamptz
);
CREATE INDEX api_key_by_tenant ON api_key (tenant_id, id);

-- Public keys that tenants sign their end users' tokens with.
CREATE TABLE jwt_key (
    id          text PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenant,
    name        text NOT NULL,
    algorithm   text NOT NULL CHECK (algorithm IN ('EdDSA', 'ES256', 'RS256')),
    public_key  text NOT NULL CHECK (length(public_key) <= 4000),
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz
);
CREATE INDEX jwt_key_by_tenant ON jwt_key (tenant_id, id);

-- Whoever knocks has no tenant yet: these two tell it, and nothing else.
CREATE FUNCTION find_api_key(of_hash bytea)
    RETURNS TABLE (id text, tenant_id text, role text, mode text, usable boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.id, k.tenant_id, k.role, t.mode, k.revoked_at IS NULL AND coalesce(k.expires_at > now(), true)
    FROM api_key k JOIN tenant t ON t.id = k.tenant_id WHERE k.hash = of_hash
$$;
CREATE FUNCTION find_jwt_key(of_id text)
    RETURNS TABLE (id text, tenant_id text, mode text, algorithm text, public_key text, usable boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.id, k.tenant_id, t.mode, k.algorithm, k.public_key, k.revoked_at IS NULL
    FROM jwt_key k JOIN tenant t ON t.id = k.tenant_id WHERE k.id = of_id
$$;

-- Requests that change something, by their Idempotency-Key: claimed before, answered after. Kept for a week; after that
-- the command's own row still makes sure that it happens once. `body` is encrypted: it may hold a key that is shown
-- once. Without a foreign key, since making a tenant is a request too.
CREATE TABLE idempotency (
    tenant_id    text NOT NULL,
    key          text NOT NULL,
    fingerprint  text NOT NULL,
    path         text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    lease_until  timestamptz NOT NULL,
    memo         json,                -- what the first attempt found and every later one has to keep to
    status       integer,
    headers      json,
    body         bytea,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_by_age ON idempotency (tenant_id, created_at);

-- What the API may do ---------------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA public TO {api_role};
GRANT SELECT ON tenant, party, policy, template, escrow, milestone, dispute, deadline, command, settlement,
    settled_milestone, payout, charge, account_kind, account, account_balance, ledger_transaction, entry, audit, event,
    release, chargeback, party_volume, exchange_rate, notification TO {api_role};
GRANT INSERT, UPDATE ON party, template TO {api_role};
GRANT INSERT ON policy TO {api_role};
GRANT INSERT (id, name, mode, reporting_currency, test_of), UPDATE (clock_offset) ON tenant TO {api_role};
GRANT INSERT (tenant_id, base, quote, rate, as_of, source) ON exchange_rate TO {api_role};
GRANT SELECT, INSERT ON api_key, jwt_key TO {api_role};
GRANT UPDATE (expires_at, revoked_at) ON api_key TO {api_role};
GRANT UPDATE (revoked_at) ON jwt_key TO {api_role};
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency TO {api_role};
-- Refusals that a workflow gave before anything was written are put on record by whoever had sent the command.
GRANT INSERT ON command, event TO {api_role};
GRANT INSERT (id, tenant_id, escrow_id, command_id, name, actor_role, actor_party, ip, user_agent, details, outcome,
              message, before_version, after_version, received_at) ON audit TO {api_role};
GRANT EXECUTE ON FUNCTION lock_parties(text, text, text[]), newest_of_pair(text, text, text),
    newest_rates(text, text, text) TO {api_role};

-- Locking a row wants the right to change it, which the API must not have. It locks what it could see, and no more.
CREATE FUNCTION lock_escrow(of_id text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM escrow WHERE id = of_id AND tenant_id = coalesce(current_tenant(), tenant_id) FOR UPDATE;
END $$;

REVOKE ALL ON FUNCTION find_api_key(bytea), find_jwt_key(text), lock_escrow(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION find_api_key(bytea), find_jwt_key(text) TO {api_role};
GRANT EXECUTE ON FUNCTION lock_escrow(text) TO {api_role}, {app_role};

-- Whose rows ------------------------------------------------------------------------------------------------------

-- For one table: rows are seen and written where the condition holds; workers see and write all.
CREATE FUNCTION keep_apart(of_table text, whose text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', of_table);
    EXECUTE format('CREATE POLICY every_tenant ON %I TO {app_role} USING (true) WITH CHECK (true)', of_table);
    EXECUTE format('CREATE POLICY own_tenant ON %I TO {api_role} USING (%s) WITH CHECK (%s)', of_table, whose, whose);
END $$;

DO $$
DECLARE one text;
BEGIN
    PERFORM keep_apart('tenant', 'id = current_tenant()');
    FOREACH one IN ARRAY ARRAY['party', 'policy', 'template', 'escrow', 'command', 'settlement', 'charge', 'account',
                               'ledger_transaction', 'entry', 'audit', 'event', 'party_volume', 'notification',
                               'outbox', 'api_key', 'jwt_key', 'idempotency'] LOOP
        PERFORM keep_apart(one, 'tenant_id = current_tenant()');
    END LOOP;
    -- An escrow is seen by its own tenant only, so whatever belongs to one is as well.
    FOREACH one IN ARRAY ARRAY['milestone', 'dispute', 'deadline', 'payout', 'release', 'chargeback'] LOOP
        PERFORM keep_apart(one, 'EXISTS (SELECT FROM escrow e WHERE e.id = escrow_id)');
    END LOOP;
    PERFORM keep_apart('settled_milestone', 'EXISTS (SELECT FROM settlement s WHERE s.id = settlement_id)');
END $$;

-- Everyone's rates are for everyone to read; only a tenant's own may be written.
ALTER TABLE exchange_rate ENABLE ROW LEVEL SECURITY;
CREATE POLICY every_tenant ON exchange_rate TO {app_role} USING (true) WITH CHECK (true);
CREATE POLICY own_tenant ON exchange_rate TO {api_role}
    USING (tenant_id IS NULL OR tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant());

REVOKE ALL ON FUNCTION keep_apart(text, text) FROM PUBLIC;
