-- Who is told of the ends of jobs.  What is to be told is written in the transaction that ends the job, so that no end is
-- forgotten; a process of its own (server/deliver) sends it.

CREATE TABLE webhooks (
    n       INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    project TEXT,                        -- NULL: all
    url     TEXT NOT NULL,
    secret  TEXT NOT NULL,               -- key of the signature
    created INTEGER NOT NULL
) STRICT;

-- state: 0 to be sent, 1 delivered, 2 given up.
CREATE TABLE deliveries (
    n          INTEGER PRIMARY KEY,
    webhook_n  INTEGER NOT NULL REFERENCES webhooks (n) ON DELETE CASCADE,
    job_n      INTEGER NOT NULL,
    event      TEXT NOT NULL,
    state      INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 2),
    attempts   INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL DEFAULT 0,
    created    INTEGER NOT NULL,
    finished   INTEGER NOT NULL DEFAULT 0,
    status     INTEGER NOT NULL DEFAULT 0, -- of the last answer, 0 for none
    error      TEXT NOT NULL DEFAULT ''    -- of the last attempt
) STRICT;
CREATE INDEX deliveries_due        ON deliveries (webhook_n, not_before, n) WHERE state = 0;
CREATE INDEX deliveries_ended      ON deliveries (finished) WHERE state != 0;
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_n, n);

CREATE TRIGGER jobs_told AFTER UPDATE OF state ON jobs WHEN new.state >= 2 AND old.state < 2 BEGIN
    INSERT INTO deliveries (webhook_n, job_n, event, created)
        SELECT w.n, new.n, CASE new.state WHEN 2 THEN 'job.succeeded' WHEN 3 THEN 'job.failed'
            ELSE 'job.cancelled' END, new.finished
        FROM webhooks w WHERE w.project IS NULL OR w.project = new.project;
END;
