-- Who may do what: tokens, sessions of browsers, private projects, what uploads belong to, and the audit log.

-- Rows are never deleted: a token that has been revoked still names who did something, and while a
-- row exists the service stays closed to those who have none.
CREATE TABLE tokens (
    n            INTEGER PRIMARY KEY,
    hash         TEXT NOT NULL UNIQUE CHECK (length(hash) = 64),  -- SHA-256 of the token in hex
    name         TEXT NOT NULL,
    role         INTEGER NOT NULL CHECK (role BETWEEN 1 AND 3),   -- 1 viewer, 2 submitter, 3 admin
    project      TEXT NOT NULL DEFAULT '',                        -- '' = not bound to one
    created      INTEGER NOT NULL,
    expires      INTEGER NOT NULL DEFAULT 0,                      -- 0 = never
    revoked      INTEGER NOT NULL DEFAULT 0,
    last_used    INTEGER NOT NULL DEFAULT 0,
    rate         INTEGER NOT NULL DEFAULT 0,                      -- 0 = what the daemon is configured for
    quota_upload INTEGER NOT NULL DEFAULT 0,                      -- bytes a day
    quota_queued INTEGER NOT NULL DEFAULT 0                       -- jobs
) STRICT;

CREATE TABLE sessions (
    hash    TEXT PRIMARY KEY CHECK (length(hash) = 64),           -- SHA-256 of the cookie's value
    token_n INTEGER NOT NULL REFERENCES tokens (n),
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_expiry ON sessions (expires);
CREATE INDEX sessions_by_token  ON sessions (token_n, created);

-- A project without a row is public.
CREATE TABLE projects (
    name    TEXT PRIMARY KEY,
    private INTEGER NOT NULL CHECK (private IN (0, 1))
) STRICT, WITHOUT ROWID;

-- The projects that an uploaded file belongs to. A file without rows is public.
CREATE TABLE file_projects (
    id      TEXT NOT NULL CHECK (length(id) = 64),
    project TEXT NOT NULL,
    PRIMARY KEY (id, project)
) STRICT, WITHOUT ROWID;

-- Bytes that a token has uploaded on a day (days since 1970, UTC).
CREATE TABLE token_usage (
    token_n INTEGER NOT NULL REFERENCES tokens (n),
    day     INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    PRIMARY KEY (token_n, day)
) STRICT, WITHOUT ROWID;

ALTER TABLE jobs ADD COLUMN token_n INTEGER REFERENCES tokens (n);  -- who asked for it, NULL: nobody with a token
CREATE INDEX jobs_queued_by_token ON jobs (token_n) WHERE state = 0 AND token_n IS NOT NULL;

CREATE TABLE audit (
    n       INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    token_n INTEGER,          -- NULL: nobody with a token
    actor   TEXT NOT NULL,    -- the token's name, "operator" for the command line
    address TEXT NOT NULL,
    action  TEXT NOT NULL,    -- job.delete, token.create, …
    object  TEXT NOT NULL,
    result  TEXT NOT NULL     -- ok, or the code of the problem
) STRICT;
CREATE INDEX audit_by_time ON audit (at);

-- Grows with each change that the daemon must know of at once.
CREATE TABLE access_version (version INTEGER NOT NULL) STRICT;
INSERT INTO access_version VALUES (1);
CREATE TRIGGER tokens_added AFTER INSERT ON tokens BEGIN
    UPDATE access_version SET version = version + 1;
END;
CREATE TRIGGER tokens_changed AFTER UPDATE OF revoked ON tokens BEGIN
    UPDATE access_version SET version = version + 1;
END;
CREATE TRIGGER projects_added AFTER INSERT ON projects BEGIN
    UPDATE access_version SET version = version + 1;
END;
CREATE TRIGGER projects_changed AFTER UPDATE ON projects BEGIN
    UPDATE access_version SET version = version + 1;
END;
CREATE TRIGGER sessions_added AFTER INSERT ON sessions BEGIN
    UPDATE access_version SET version = version + 1;
END;
CREATE TRIGGER sessions_removed AFTER DELETE ON sessions BEGIN
    UPDATE access_version SET version = version + 1;
END;
