-- What /metrics counts over all processes and restarts: the daemon, its workers and those beside it.

CREATE TABLE counters (
    name   TEXT NOT NULL,                -- as Prometheus has it, without the prefix
    labels TEXT NOT NULL DEFAULT '',     -- kind="check",state="succeeded"
    value  REAL NOT NULL,
    PRIMARY KEY (name, labels)
) STRICT, WITHOUT ROWID;

-- Every end of a job, however it came about.  how: computed, cached (an earlier result), shared (somebody else's in flight).
CREATE TRIGGER jobs_ended AFTER UPDATE OF state ON jobs WHEN new.state >= 2 AND old.state < 2 BEGIN
    INSERT INTO counters VALUES ('jobs_ended_total', 'kind="' || new.kind || '",state="'
        || CASE new.state WHEN 2 THEN 'succeeded' WHEN 3 THEN 'failed' ELSE 'cancelled' END || '",how="'
        || CASE WHEN new.stage IN ('cached', 'shared') THEN new.stage ELSE 'computed' END || '"', 1)
        ON CONFLICT DO UPDATE SET value = value + 1;
    INSERT INTO counters SELECT 'job_run_seconds_total', 'kind="' || new.kind || '"',
        max(new.finished - new.started, 0) / 1000.0
        WHERE new.state IN (2, 3) AND new.started > 0 AND new.stage NOT IN ('cached', 'shared')
        ON CONFLICT DO UPDATE SET value = value + excluded.value;
    INSERT INTO counters SELECT 'job_wait_seconds_total', 'kind="' || new.kind || '"',
        max(new.started - new.created, 0) / 1000.0
        WHERE new.state IN (2, 3) AND new.started > 0 AND new.stage NOT IN ('cached', 'shared')
        ON CONFLICT DO UPDATE SET value = value + excluded.value;
END;
