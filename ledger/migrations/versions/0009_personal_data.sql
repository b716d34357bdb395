-- Who parties are: names, addresses and languages in one table, encrypted by the program before they come here.
--
-- PostgreSQL never has the key, so neither has whoever reads a backup of it. What `data` holds and how is in
-- ledger/personal.py; the migration beside this moves what `party` held in clear. Read docs/ledger.md beside this.

CREATE TABLE personal_data (
    tenant_id   text NOT NULL,
    party       text NOT NULL,
    data        bytea NOT NULL CHECK (length(data) BETWEEN 30 AND 8000),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, party),
    FOREIGN KEY (tenant_id, party) REFERENCES party
);
CREATE INDEX party_by_age ON party (tenant_id, created_at, id);

GRANT SELECT, INSERT, UPDATE, DELETE ON personal_data TO {app_role}, {api_role};
-- Whoever is forgotten is so in the answers to requests as well, also when an operator does it from the command line.
GRANT SELECT (tenant_id, path, status), DELETE ON idempotency TO {app_role};

SELECT keep_apart('personal_data', 'tenant_id = current_tenant()');
