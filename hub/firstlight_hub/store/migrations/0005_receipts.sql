-- Of each device the newest receipt that was carried here by hand. Live beats stay apart from it.

CREATE TABLE receipt (
    device          INTEGER PRIMARY KEY,
    hash            TEXT NOT NULL,
    key_fingerprint TEXT NOT NULL,
    counter         INTEGER NOT NULL,
    made_at_ms      INTEGER NOT NULL,
    received_at_ms  INTEGER NOT NULL,
    state           TEXT NOT NULL,
    reason          TEXT NOT NULL,
    agent_version   TEXT NOT NULL,
    hostname        TEXT,
    type            TEXT,
    architecture    TEXT,
    beats           INTEGER NOT NULL,
    beats_digest    TEXT NOT NULL,
    note            TEXT NOT NULL
);

CREATE TRIGGER receipt_forgotten AFTER DELETE ON device
BEGIN
    DELETE FROM receipt WHERE device = old.number;
END;
