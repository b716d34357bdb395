-- What the rules about money need beyond a flat fee: clawbacks, dispute fees, money out on terms, chargebacks, volumes,
-- the state of a party, and exchange rates on settlements. Read docs/ledger.md beside this.

-- Parties: who may be paid, and why not ------------------------------------------------------------------------------

ALTER TABLE party
    ADD COLUMN kyc_status text NOT NULL DEFAULT 'none'
        CHECK (kyc_status IN ('none', 'pending', 'verified', 'rejected', 'expired')),
    ADD COLUMN blocked_because text,       -- set: the party's money does not move
    ADD COLUMN invalid_destination text,   -- an account that the provider sent money back from
    ADD COLUMN invalid_because text;

-- A tenant's own milestone templates; escrows copy what they need, so a template may be replaced.
CREATE TABLE template (
    tenant_id   text NOT NULL REFERENCES tenant,
    name        text NOT NULL,
    document    json NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

-- The escrow and its parts -------------------------------------------------------------------------------------------

ALTER TABLE escrow
    ADD COLUMN surcharge bigint NOT NULL DEFAULT 0 CHECK (surcharge BETWEEN 0 AND held),  -- of what is held: for the fee
    ADD COLUMN contested bigint NOT NULL DEFAULT 0 CHECK (contested >= 0),        -- in chargeback_hold
    ADD COLUMN charged_back bigint NOT NULL DEFAULT 0 CHECK (charged_back >= 0),  -- gone to the payer's bank
    ADD COLUMN fee_policy_version integer,                                        -- pinned at funding
    DROP CONSTRAINT escrow_check1,
    ADD CONSTRAINT every_unit_is_somewhere
        CHECK (funded = held + disputed + contested + released + refunded + charged_back);
CREATE INDEX escrow_by_seller ON escrow (tenant_id, seller, currency);

ALTER TABLE milestone
    ADD COLUMN rejections integer NOT NULL DEFAULT 0,
    ADD COLUMN clawed bigint NOT NULL DEFAULT 0 CHECK (clawed BETWEEN 0 AND amount);

ALTER TABLE dispute
    DROP CONSTRAINT dispute_amount_check,
    ADD CHECK (amount >= 0),                                      -- a lost chargeback may leave nothing to argue about
    ADD COLUMN surcharge bigint NOT NULL DEFAULT 0 CHECK (surcharge >= 0),
    ADD COLUMN answers json NOT NULL DEFAULT '[]';

ALTER TABLE deadline
    ALTER COLUMN milestone DROP NOT NULL,
    ADD COLUMN dispute text REFERENCES dispute,
    ADD COLUMN payout text REFERENCES payout,
    ADD CONSTRAINT about_one_thing CHECK (num_nonnulls(milestone, dispute, payout) = 1);

ALTER TABLE payout
    ADD COLUMN hold text CHECK (hold IN ('clearance', 'manual', 'minimum', 'kyc', 'blocked', 'chargeback')),
    ADD COLUMN ready_at timestamptz,
    ADD COLUMN requested boolean NOT NULL DEFAULT false,   -- under trigger manual: somebody asked for it
    ADD COLUMN enough boolean NOT NULL DEFAULT false,      -- the minimum was reached together with others
    ADD COLUMN netted bigint NOT NULL DEFAULT 0 CHECK (netted >= 0);
CREATE INDEX payout_carried ON payout (party) WHERE status = 'due' AND hold = 'minimum' AND NOT enough;
CREATE INDEX payout_by_party ON payout (party, id);

-- What was released, and how much of it was taken back: what a clawback can still reach.
CREATE TABLE release (
    id          text PRIMARY KEY REFERENCES settlement,
    escrow_id   text NOT NULL REFERENCES escrow,
    milestones  json NOT NULL,
    principal   bigint NOT NULL CHECK (principal > 0),   -- of the deal's amount, without what the buyer added for the fee
    fee         bigint NOT NULL CHECK (fee >= 0),
    buyer_fee   bigint NOT NULL CHECK (buyer_fee BETWEEN 0 AND fee),
    clawed      bigint NOT NULL CHECK (clawed BETWEEN 0 AND principal),
    policy_version integer NOT NULL,
    rule        text NOT NULL,
    fee_rate    numeric,
    rate        json NOT NULL                            -- the exchange rate of the settlement
);
CREATE INDEX release_by_escrow ON release (escrow_id);
INSERT INTO release
    SELECT s.id, s.escrow_id, coalesce((SELECT json_agg(m.milestone_id) FROM settled_milestone m WHERE m.settlement_id = s.id), '[]'),
           s.total - s.buyer_refund, s.platform_fee, 0, 0, s.fee_policy_version, s.fee_rule, s.fee_rate,
           json_build_object('base', s.currency, 'quote', s.currency, 'rate', '1', 'as_of', s.created_at::date, 'source', 'identity')
    FROM settlement s WHERE s.outcome IN ('release', 'split', 'partial_refund') AND s.total > s.buyer_refund;

CREATE TABLE chargeback (
    id          text PRIMARY KEY,
    escrow_id   text NOT NULL REFERENCES escrow,
    kind        text NOT NULL CHECK (kind IN ('chargeback', 'failed_charge')),
    reference   text NOT NULL,
    reason      text,
    amount      bigint NOT NULL CHECK (amount > 0),
    frozen      bigint NOT NULL CHECK (frozen BETWEEN 0 AND amount),  -- of it, what was still held or in dispute
    surcharge   bigint NOT NULL CHECK (surcharge >= 0),               -- of that, what the buyer had added for the fee
    disputed    bigint NOT NULL CHECK (disputed >= 0),                -- of that, what a dispute had frozen before
    status      text NOT NULL CHECK (status IN ('open', 'won', 'lost')),
    CHECK (surcharge + disputed <= frozen),
    UNIQUE (escrow_id, reference)
);
CREATE INDEX chargeback_by_escrow ON chargeback (escrow_id);

-- Disputes of before end by themselves as well, as those of today do without a policy.
INSERT INTO deadline (id, escrow_id, dispute, kind, generation, due_at, pending)
    SELECT 'dln_' || substr(d.id, 5), d.escrow_id, d.id, 'default_dispute', 0,
           now() + make_interval(secs => t.clock_offset) + interval '30 days', true
    FROM dispute d JOIN escrow e ON e.id = d.escrow_id JOIN tenant t ON t.id = e.tenant_id
    WHERE d.status IN ('open', 'under_review');

-- Settlements --------------------------------------------------------------------------------------------------------

ALTER TABLE settlement
    ALTER COLUMN fee_rate DROP NOT NULL,                                   -- tiers have several
    ADD COLUMN dispute_fee bigint NOT NULL DEFAULT 0 CONSTRAINT the_dispute_fee_is_part_of_it
        CHECK (dispute_fee BETWEEN 0 AND platform_fee),
    ADD COLUMN volume bigint NOT NULL DEFAULT 0 CHECK (volume >= 0),       -- what counts as released to the seller
    ADD COLUMN reverses text REFERENCES settlement,                        -- a clawback's original
    ADD COLUMN fee_returned bigint NOT NULL DEFAULT 0 CHECK (fee_returned >= 0),
    ADD COLUMN from_payable bigint NOT NULL DEFAULT 0 CHECK (from_payable >= 0),
    ADD COLUMN from_wallet bigint NOT NULL DEFAULT 0 CHECK (from_wallet >= 0),
    ADD COLUMN to_receivable bigint NOT NULL DEFAULT 0 CHECK (to_receivable >= 0),
    ADD COLUMN fx_rate numeric CHECK (fx_rate > 0),                        -- NULL before this migration: one currency
    ADD COLUMN fx_quote text,
    ADD COLUMN fx_as_of date,
    ADD COLUMN fx_total numeric,                                            -- 10 trillion euro in rupiah exceeds a bigint
    ADD COLUMN fx_platform_fee numeric,
    ADD COLUMN fx_seller_payout numeric,
    ADD COLUMN fx_buyer_refund numeric,
    ADD CONSTRAINT taken_back_from_somewhere
        CHECK (reverses IS NULL OR total = fee_returned + from_payable + from_wallet + to_receivable),
    ADD CONSTRAINT the_same_division_in_both_currencies
        CHECK (fx_total = fx_platform_fee + fx_seller_payout + fx_buyer_refund);

-- The order in which a command posted: a receivable is netted after the release that pays it.
ALTER TABLE ledger_transaction ADD COLUMN position integer NOT NULL DEFAULT 0;
ALTER TABLE entry ADD COLUMN position integer NOT NULL DEFAULT 0;

-- How much a seller has been released, which volume tiers are looked up by: kept from the settlements, by nobody else.
CREATE TABLE party_volume (
    tenant_id  text NOT NULL REFERENCES tenant,
    party      text NOT NULL,
    currency   text NOT NULL,
    released   bigint NOT NULL CHECK (released >= 0),
    PRIMARY KEY (tenant_id, party, currency)
);
INSERT INTO party_volume
    SELECT s.tenant_id, e.seller, s.currency, sum(r.principal) FROM release r
    JOIN settlement s ON s.id = r.id JOIN escrow e ON e.id = s.escrow_id GROUP BY 1, 2, 3;

CREATE FUNCTION count_volume() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO party_volume AS known (tenant_id, party, currency, released)
        SELECT NEW.tenant_id, e.seller, NEW.currency, NEW.volume FROM escrow e WHERE e.id = NEW.escrow_id
        ON CONFLICT (tenant_id, party, currency) DO UPDATE SET released = known.released + excluded.released;
    RETURN NULL;
END $$;
CREATE TRIGGER count_volume AFTER INSERT ON settlement
    FOR EACH ROW WHEN (NEW.volume > 0) EXECUTE FUNCTION count_volume();

-- Nobody owes less than nothing: what a party owes gets a floor, and with it a balance of its own. Nothing was posted to
-- it before.
ALTER TABLE account_kind DISABLE TRIGGER append_only;
UPDATE account_kind SET has_floor = true WHERE kind = 'receivable';
ALTER TABLE account_kind ENABLE TRIGGER append_only;

-- Locks --------------------------------------------------------------------------------------------------------------

-- One lock per party, tenant and currency, taken before anything of the party is read: two releases of one seller see
-- each other's volume and receivable, two fundings of one buyer each other's wallet. In the order of the keys for
-- everyone, and before any row of an account, so nobody waits in a circle.
CREATE FUNCTION lock_parties(tenant text, of_currency text, VARIADIC parties text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE key bigint;
BEGIN
    FOR key IN SELECT DISTINCT hashtextextended(concat_ws(E'\x1f', 'party', tenant, of_currency, one), 0)
               FROM unnest(parties) AS one WHERE one IS NOT NULL ORDER BY 1 LOOP
        PERFORM pg_advisory_xact_lock(key);
    END LOOP;
END $$;

DROP FUNCTION lock_wallet(text, text, text);

REVOKE ALL ON FUNCTION count_volume(), lock_parties(text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lock_parties(text, text, text[]) TO {app_role};
GRANT INSERT (position) ON ledger_transaction TO {app_role};
GRANT SELECT ON template, release, chargeback, party_volume TO {app_role};
GRANT INSERT, UPDATE ON template, release, chargeback TO {app_role};
