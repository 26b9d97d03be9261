-- Models, jobs, artifacts. Times are milliseconds since 1970 (UTC); n grows with time.

CREATE TABLE models (
    n       INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE CHECK (length(id) = 64),   -- SHA-256 of the content in hex
    name    TEXT NOT NULL,
    format  TEXT NOT NULL,
    bytes   INTEGER NOT NULL CHECK (bytes >= 0),
    created INTEGER NOT NULL,
    info    TEXT                                            -- JSON, after a first job
) STRICT;

-- The job's public id is n written in base 32, so that ids sort by time and a cursor is a number.
-- state: 0 queued, 1 running, 2 succeeded, 3 failed, 4 cancelled.
CREATE TABLE jobs (
    n           INTEGER PRIMARY KEY,
    state       INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    model_n     INTEGER NOT NULL REFERENCES models (n),
    kind        TEXT NOT NULL,
    march       TEXT NOT NULL,
    verdict     TEXT NOT NULL DEFAULT '',
    project     TEXT NOT NULL DEFAULT '',
    stage       TEXT NOT NULL DEFAULT '',
    progress    REAL NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    created     INTEGER NOT NULL,
    started     INTEGER NOT NULL DEFAULT 0,
    finished    INTEGER NOT NULL DEFAULT 0,
    worker      TEXT NOT NULL DEFAULT '',                   -- who holds the lease
    lease_until INTEGER NOT NULL DEFAULT 0,
    cancel      INTEGER NOT NULL DEFAULT 0,
    cache_key   TEXT NOT NULL,                              -- SHA-256 of (model, kind, march, options)
    tool        TEXT NOT NULL,                              -- version that made or will make the result
    options     TEXT NOT NULL DEFAULT '{}',
    labels      TEXT NOT NULL DEFAULT '{}',
    error       TEXT                                        -- problem document
) STRICT;

-- The queue: both indexes hold only the few jobs that are not done.
CREATE INDEX jobs_queued ON jobs (n) WHERE state = 0;
CREATE INDEX jobs_leased ON jobs (lease_until) WHERE state = 1;
-- Lists, newest first. The columns after n let a page that filters on several things be cut without
-- reading the wide rows.
CREATE INDEX jobs_by_facet   ON jobs (n, state, kind, march, verdict);
CREATE INDEX jobs_by_state   ON jobs (state, n, kind, march, verdict);
CREATE INDEX jobs_by_model   ON jobs (model_n, n, state, kind, march, verdict);
CREATE INDEX jobs_by_project ON jobs (project, n, state, kind, march, verdict);
-- Answers from the cache.
CREATE INDEX jobs_done ON jobs (cache_key, tool) WHERE state = 2;

CREATE TABLE job_labels (
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    job_n INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    PRIMARY KEY (key, value, job_n)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_labels_by_job ON job_labels (job_n);

CREATE TABLE job_artifacts (
    job_n   INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,
    name    TEXT NOT NULL,
    type    TEXT NOT NULL,
    sha256  TEXT NOT NULL CHECK (length(sha256) = 64),
    bytes   INTEGER NOT NULL CHECK (bytes >= 0),
    PRIMARY KEY (job_n, ordinal),
    UNIQUE (job_n, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_artifacts_by_content ON job_artifacts (sha256);

-- Contents that a deleted job used; a later sweep removes those that nobody else uses.
CREATE TABLE trash (
    sha256 TEXT PRIMARY KEY,
    since  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    key     TEXT PRIMARY KEY,
    job_n   INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_job ON idempotency (job_n);

-- What ?q= looks in: "model file name\nproject" of each job. The trigram index finds any substring
-- of three characters or more, newest first, without reading the jobs.
CREATE TABLE job_text (
    n    INTEGER PRIMARY KEY REFERENCES jobs (n) ON DELETE CASCADE,
    text TEXT NOT NULL
) STRICT;
CREATE VIRTUAL TABLE job_search USING fts5 (
    text, content = 'job_text', content_rowid = 'n', tokenize = 'trigram', columnsize = 0
);
CREATE TRIGGER job_text_added AFTER INSERT ON job_text BEGIN
    INSERT INTO job_search (rowid, text) VALUES (new.n, new.text);
END;
CREATE TRIGGER job_text_removed AFTER DELETE ON job_text BEGIN
    INSERT INTO job_search (job_search, rowid, text) VALUES ('delete', old.n, old.text);
END;
