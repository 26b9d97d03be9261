-- The queue in order of priority and of turns, retries that wait, and identical work that is done once.

ALTER TABLE jobs ADD COLUMN priority   INTEGER NOT NULL DEFAULT 0;
-- Projects take turns: a job's turn is one behind the project's last, or the queue's present one if that
-- is later, so that a project with a thousand jobs and one with three are served alternately.
ALTER TABLE jobs ADD COLUMN turn       INTEGER NOT NULL DEFAULT 0;
-- A retry waits until then; 0 is at once.
ALTER TABLE jobs ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0;
-- An identical job that is queued or running, whose end will be this one's; 0 is none.
ALTER TABLE jobs ADD COLUMN waits_for  INTEGER NOT NULL DEFAULT 0;

DROP INDEX jobs_queued;
CREATE INDEX jobs_ready   ON jobs (priority DESC, turn, n)
    WHERE state = 0 AND waits_for = 0 AND not_before = 0;
CREATE INDEX jobs_delayed ON jobs (not_before) WHERE state = 0 AND not_before > 0;
CREATE INDEX jobs_waiting ON jobs (waits_for) WHERE waits_for > 0;
CREATE INDEX jobs_open    ON jobs (cache_key) WHERE state < 2;

-- The turn that each priority has come to, and the last one of each project.
CREATE TABLE turns (
    priority INTEGER PRIMARY KEY,
    now      INTEGER NOT NULL
) STRICT;
CREATE TABLE project_turns (
    project  TEXT NOT NULL,
    priority INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    PRIMARY KEY (project, priority)
) STRICT, WITHOUT ROWID;
