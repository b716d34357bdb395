-- The audit as a chain: every row carries the hash of the row before it, per escrow. A row that is changed, removed,
-- moved or slipped in afterwards breaks the chain from there on, whoever does it. docs/reports.md, "The hash chain", has
-- the canonical form; ledger/audit.py computes it again, from the rows alone, in Python.

ALTER TABLE audit
    ADD COLUMN position bigint,  -- 1, 2, 3 … per escrow
    ADD COLUMN previous text,    -- the hash of the row before, in hex; 64 zeros for the first
    ADD COLUMN hash text;        -- SHA-256 over everything else, in hex

-- What is hashed: a JSON array of all the other columns in one order, so that nothing can be moved from one column to
-- its neighbour and NULL is not ''. `details` is the text as it is stored, moments are UTC to the microsecond:
-- no setting of a session changes a byte of it.
CREATE FUNCTION audit_hash(line audit) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT encode(sha256(convert_to(json_build_array(
        line.previous, line.position, line.id, line.tenant_id, line.escrow_id, line.command_id, line.name,
        line.actor_role, line.actor_party, abbrev(line.ip), line.user_agent, line.details::text,
        line.outcome, line.message, line.before_version, line.after_version,
        to_char(line.received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        to_char(line.recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    )::text, 'UTF8')), 'hex')
$$;

-- Rows from before there was a chain, in the order in which they were decided: versions tell it. This is the one time
-- that rows of the audit are updated, so the guard stands aside for it, inside this migration.
ALTER TABLE audit DISABLE TRIGGER append_only;
DO $$
DECLARE
    line audit;
    last audit;
BEGIN
    FOR line IN SELECT * FROM audit ORDER BY escrow_id, before_version, after_version, recorded_at, id LOOP
        IF last.escrow_id IS DISTINCT FROM line.escrow_id THEN
            last.position := 0;
            last.hash := repeat('0', 64);
        END IF;
        line.position := last.position + 1;
        line.previous := last.hash;
        line.hash := audit_hash(line);
        UPDATE audit SET position = line.position, previous = line.previous, hash = line.hash WHERE id = line.id;
        last := line;
    END LOOP;
END $$;
ALTER TABLE audit ENABLE TRIGGER append_only;

ALTER TABLE audit
    ALTER COLUMN position SET NOT NULL,
    ALTER COLUMN previous SET NOT NULL,
    ALTER COLUMN hash SET NOT NULL,
    ADD CONSTRAINT one_chain_per_escrow UNIQUE (escrow_id, position);
DROP INDEX audit_by_escrow;  -- the chain's own index finds an escrow's rows, and in order

-- An escrow's rows are written under its lock, so the last one is known. Before there is an escrow there is no row to
-- lock: refused attempts to create one wait for each other here. Should anything get past both, the constraint above
-- refuses the second, and the books try again. Volatile, so that a row sees what was committed while it waited, and the
-- rows that the same statement inserted before it.
CREATE FUNCTION chain_audit() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.before_version = 0 THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('audit:' || NEW.escrow_id, 0));
    END IF;
    SELECT position + 1, hash INTO NEW.position, NEW.previous
        FROM audit WHERE escrow_id = NEW.escrow_id ORDER BY position DESC LIMIT 1;
    IF NOT FOUND THEN
        NEW.position := 1;
        NEW.previous := repeat('0', 64);
    END IF;
    NEW.hash := audit_hash(NEW);
    RETURN NEW;
END $$;
CREATE TRIGGER chain_audit BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION chain_audit();

-- The program says what happened; where it stands in the chain, and when it was recorded, are PostgreSQL's own words.
REVOKE ALL ON FUNCTION chain_audit(), audit_hash(audit) FROM PUBLIC;
REVOKE INSERT ON audit FROM {app_role};
GRANT INSERT (id, tenant_id, escrow_id, command_id, name, actor_role, actor_party, ip, user_agent, details, outcome,
              message, before_version, after_version, received_at) ON audit TO {app_role};
