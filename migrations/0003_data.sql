-- Data files: calibration data, test sets, labels.  Beside the models, whose lists they stay out of.

CREATE TABLE data (
    n       INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE CHECK (length(id) = 64),   -- SHA-256 of the content in hex
    name    TEXT NOT NULL,
    format  TEXT NOT NULL,                                  -- npz, npy, idx
    bytes   INTEGER NOT NULL CHECK (bytes >= 0),
    created INTEGER NOT NULL,
    info    TEXT                                            -- JSON, after a first job
) STRICT;
