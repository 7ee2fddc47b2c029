-- Roll-outs, of which the newest counts; and of each device how its last upgrade went.

CREATE TABLE rollout (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    version       TEXT NOT NULL,
    percent       INTEGER NOT NULL,
    tag           TEXT,
    device_ids    TEXT NOT NULL,
    halt_after    INTEGER,
    at_once       INTEGER NOT NULL,
    state         TEXT NOT NULL,
    started_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    forgiven      INTEGER NOT NULL DEFAULT 0,
    reason        TEXT NOT NULL DEFAULT ''
);

CREATE TABLE upgrade (
    device      INTEGER PRIMARY KEY,
    rollout     INTEGER,
    version     TEXT NOT NULL,
    release_id  TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    path        TEXT NOT NULL,
    told_at_ms  INTEGER,
    ended_at_ms INTEGER,
    code        TEXT,
    message     TEXT
);

CREATE INDEX upgrade_rollout ON upgrade (rollout, ended_at_ms);

CREATE TRIGGER upgrade_forgotten AFTER DELETE ON device
BEGIN
    DELETE FROM upgrade WHERE device = old.number;
END;
