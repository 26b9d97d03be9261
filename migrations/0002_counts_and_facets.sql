-- Lists by kind and by verdict alone, and counts that need no scan.

CREATE INDEX jobs_by_kind    ON jobs (kind, n, state, march, verdict);
CREATE INDEX jobs_by_verdict ON jobs (verdict, n, state, kind, march);

CREATE TABLE totals (
    name  TEXT PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO totals SELECT 'jobs', count(*) FROM jobs;
INSERT INTO totals SELECT 'models', count(*) FROM models;

CREATE TRIGGER jobs_counted AFTER INSERT ON jobs BEGIN
    UPDATE totals SET count = count + 1 WHERE name = 'jobs';
END;
CREATE TRIGGER jobs_uncounted AFTER DELETE ON jobs BEGIN
    UPDATE totals SET count = count - 1 WHERE name = 'jobs';
END;
CREATE TRIGGER models_counted AFTER INSERT ON models BEGIN
    UPDATE totals SET count = count + 1 WHERE name = 'models';
END;
CREATE TRIGGER models_uncounted AFTER DELETE ON models BEGIN
    UPDATE totals SET count = count - 1 WHERE name = 'models';
END;
