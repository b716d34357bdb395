-- Figures for monitoring, over all tenants: counts, amounts and ages, and nothing that would tell of one tenant.
--
-- The API's role sees one tenant at a time, so functions of the owner's answer these. What is asked often is found by
-- indexes and is short while all is well; what has to read whole tables is asked seldom, as docs/observability.md says.

CREATE INDEX payout_unknown ON payout (escrow_id) WHERE status = 'unknown';
CREATE INDEX deadline_due ON deadline (due_at) WHERE pending;
CREATE INDEX webhook_delivery_failed ON webhook_delivery (finished_at) WHERE status = 'failed';

-- What waits. A payout has been unknown since its latest event says so; ages are seconds of real time. What waits is
-- little, whatever the planner thinks of it, and it is not to read all that does not wait to find it.
CREATE FUNCTION backlog_figures() RETURNS TABLE (figure text, labels text[], value numeric)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN QUERY
        SELECT 'oldest_unknown_payout', ARRAY[t.mode], extract(epoch FROM max(now() - v.since))::numeric
        FROM payout p JOIN escrow e ON e.id = p.escrow_id JOIN tenant t ON t.id = e.tenant_id
        CROSS JOIN LATERAL (SELECT max(recorded_at) AS since FROM event v WHERE v.escrow_id = p.escrow_id
                            AND v.type = 'payout.unknown' AND v.data ->> 'payout' = p.id) v
        WHERE p.status = 'unknown' GROUP BY t.mode;
    -- Most tenants have no clock of their own: theirs are found by time. Test clocks are ahead, each by its own; but for
    -- OFFSET 0 each such tenant would look through the deadlines of all.
    RETURN QUERY
        SELECT 'overdue_deadlines', ARRAY[late.mode], count(*)::numeric FROM (
            SELECT t.mode FROM deadline d JOIN escrow e ON e.id = d.escrow_id JOIN tenant t ON t.id = e.tenant_id
            WHERE d.pending AND d.due_at < now() - interval '5 minutes' AND t.clock_offset = 0
            UNION ALL
            SELECT t.mode FROM tenant t JOIN escrow e ON e.tenant_id = t.id CROSS JOIN LATERAL (
                SELECT FROM deadline d WHERE d.escrow_id = e.id AND d.pending
                    AND d.due_at < now() - interval '5 minutes' + make_interval(secs => t.clock_offset) OFFSET 0) d
            WHERE t.clock_offset > 0) late
        GROUP BY late.mode;
    RETURN QUERY
        SELECT 'outbox_waiting', ARRAY[]::text[], count(*)::numeric FROM outbox
        UNION ALL
        SELECT 'outbox_oldest', ARRAY[]::text[], extract(epoch FROM now() - v.recorded_at)::numeric
        FROM (SELECT o.event_id FROM outbox o ORDER BY o.number LIMIT 1) o JOIN event v ON v.id = o.event_id;
    RETURN QUERY SELECT 'unnumbered_events', ARRAY[]::text[], count(*)::numeric FROM unnumbered_event;
    -- Given up within a day: what is older was somebody's to see.
    RETURN QUERY
        SELECT 'webhook_deliveries', ARRAY['failed'], count(*)::numeric FROM webhook_delivery w
        WHERE w.status = 'failed' AND w.finished_at > now() - interval '1 day'
        UNION ALL
        SELECT f.figure, f.labels, f.value
        FROM (SELECT count(*) AS number, extract(epoch FROM now() - min(w.created_at)) AS age
              FROM webhook_delivery w WHERE w.status = 'pending') w
        CROSS JOIN LATERAL (VALUES ('webhook_deliveries', ARRAY['pending'], w.number::numeric),
                                   ('webhook_oldest', ARRAY[]::text[], w.age)) f (figure, labels, value);
    RETURN QUERY
        SELECT 'gateway_events', ARRAY['refused'], count(*)::numeric FROM gateway_event g WHERE g.status = 'refused'
        UNION ALL
        SELECT f.figure, f.labels, f.value
        FROM (SELECT count(*) AS number, extract(epoch FROM now() - min(g.received_at)) AS age
              FROM gateway_event g WHERE g.status = 'pending') g
        CROSS JOIN LATERAL (VALUES ('gateway_events', ARRAY['pending'], g.number::numeric),
                                   ('gateway_oldest', ARRAY[]::text[], g.age)) f (figure, labels, value);
END $$;

-- What there is, which takes reading the tables once.
CREATE FUNCTION total_figures() RETURNS TABLE (figure text, labels text[], value numeric)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT 'escrows', ARRAY[t.mode, e.state], sum(e.number)
    FROM (SELECT tenant_id, state, count(*) AS number FROM escrow GROUP BY 1, 2) e JOIN tenant t ON t.id = e.tenant_id
    GROUP BY t.mode, e.state
    UNION ALL
    SELECT 'payouts', ARRAY[t.mode, p.status], count(*)
    FROM payout p JOIN escrow e ON e.id = p.escrow_id JOIN tenant t ON t.id = e.tenant_id GROUP BY t.mode, p.status
    UNION ALL
    SELECT f.figure, ARRAY[t.mode, s.outcome, s.currency], sum(f.value)
    FROM (SELECT tenant_id, CASE WHEN reverses IS NULL THEN outcome ELSE 'clawback' END AS outcome, currency,
                 count(*) AS number, sum(total) AS total
          FROM settlement GROUP BY 1, 2, 3) s
    JOIN tenant t ON t.id = s.tenant_id
    CROSS JOIN LATERAL (VALUES ('settlements', s.number), ('settled', s.total)) f (figure, value)
    GROUP BY f.figure, t.mode, s.outcome, s.currency
$$;

-- By how much debits and credits differ, over each tenant's books in each currency: nothing but 0 is right. It reads
-- every entry there is.
CREATE FUNCTION unbalanced_figures() RETURNS TABLE (figure text, labels text[], value numeric)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT 'unbalanced', ARRAY[books.currency], sum(abs(books.off))
    FROM (SELECT e.currency, sum(CASE e.direction WHEN 'debit' THEN e.amount ELSE -e.amount END) AS off
          FROM entry e GROUP BY e.tenant_id, e.currency) books
    GROUP BY books.currency
$$;

REVOKE ALL ON FUNCTION backlog_figures(), total_figures(), unbalanced_figures() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION backlog_figures(), total_figures(), unbalanced_figures() TO {api_role}, {app_role};
GRANT SELECT ON alembic_version TO {api_role}, {app_role};
