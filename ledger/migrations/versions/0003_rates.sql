-- Exchange rates, as they were told to us: a rate is never changed, a newer one is added. What a settlement used is
-- kept with the settlement, so that nothing written here later can change it.

CREATE TABLE exchange_rate (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id    text REFERENCES tenant,  -- whose rate it is; NULL: everyone's
    base         text NOT NULL CHECK (base ~ '^[A-Z]{3}$'),
    quote        text NOT NULL CHECK (quote ~ '^[A-Z]{3}$' AND quote <> base),
    rate         numeric NOT NULL CHECK (rate BETWEEN 0.000000001 AND 1000000000),
    as_of        date NOT NULL,
    source       text NOT NULL CHECK (source <> ''),
    recorded_at  timestamptz NOT NULL DEFAULT now()
);
-- Look-ups order by the tenant as well: to the planner "IS NULL" is no constant, and it would sort years of rates.
CREATE INDEX exchange_rate_newest ON exchange_rate (base, quote, tenant_id, as_of DESC, id DESC);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON exchange_rate
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Of one pair, the tenant's own newest rate and everyone's; either may be missing. Two look-ups in the index above.
CREATE FUNCTION newest_of_pair(of_tenant text, of_base text, of_quote text) RETURNS SETOF exchange_rate
    LANGUAGE sql STABLE ROWS 2 AS $$
    (SELECT r.* FROM exchange_rate r
     WHERE r.base = of_base AND r.quote = of_quote AND r.tenant_id = of_tenant
     ORDER BY r.tenant_id, r.as_of DESC, r.id DESC LIMIT 1)
    UNION ALL
    (SELECT r.* FROM exchange_rate r
     WHERE r.base = of_base AND r.quote = of_quote AND r.tenant_id IS NULL
     ORDER BY r.tenant_id, r.as_of DESC, r.id DESC LIMIT 1)
$$;

-- The rates that may serve to get from one currency to another: either way between the two, and only where there is
-- none, between the euro and each of them. NULL when there is nothing, and between a currency and itself. Which of them
-- it will be, and what the rate comes to, is for ledger.rates.pick to say: exactly, and in one place.
CREATE FUNCTION newest_rates(of_tenant text, of_base text, of_quote text) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE found json;
BEGIN
    IF of_base = of_quote THEN
        RETURN NULL;
    END IF;
    SELECT json_agg(json_build_object('own', r.tenant_id IS NOT NULL, 'base', r.base, 'quote', r.quote,
                                      'rate', r.rate::text, 'as_of', r.as_of, 'source', r.source)) INTO found
    FROM (VALUES (of_base, of_quote), (of_quote, of_base)) AS pair (base, quote)
    CROSS JOIN LATERAL newest_of_pair(of_tenant, pair.base, pair.quote) AS r;
    IF found IS NULL THEN
        SELECT json_agg(json_build_object('own', r.tenant_id IS NOT NULL, 'base', r.base, 'quote', r.quote,
                                          'rate', r.rate::text, 'as_of', r.as_of, 'source', r.source)) INTO found
        FROM (VALUES ('EUR', of_base), (of_base, 'EUR'), ('EUR', of_quote), (of_quote, 'EUR')) AS pair (base, quote)
        CROSS JOIN LATERAL newest_of_pair(of_tenant, pair.base, pair.quote) AS r;
    END IF;
    RETURN found;
END $$;

REVOKE ALL ON FUNCTION newest_of_pair(text, text, text), newest_rates(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION newest_of_pair(text, text, text), newest_rates(text, text, text) TO {app_role};
GRANT SELECT ON exchange_rate TO {app_role};
GRANT INSERT (tenant_id, base, quote, rate, as_of, source) ON exchange_rate TO {app_role};
