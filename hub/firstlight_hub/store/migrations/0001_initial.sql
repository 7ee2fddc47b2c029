-- Instants are milliseconds since 1970 by the hub's clock. Keys and installIds are kept as SHA-256 only.

CREATE TABLE device (
    number               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                   TEXT NOT NULL UNIQUE,
    workspace            TEXT NOT NULL,
    name                 TEXT NOT NULL,
    device_type          TEXT,
    workflow_id          TEXT,
    tags                 TEXT NOT NULL,
    offline_mode         INTEGER NOT NULL,
    created_at_ms        INTEGER NOT NULL,
    key_fingerprint      TEXT,
    key_hash             BLOB,
    key_generation       INTEGER NOT NULL DEFAULT 0,
    last_heartbeat_at_ms INTEGER,
    skew_ms              INTEGER,
    agent_version        TEXT,
    facts                TEXT,
    facts_hash           TEXT
);

-- A page costs the same in a table of any size.
CREATE INDEX device_page ON device (workspace, number);
CREATE UNIQUE INDEX device_key ON device (key_hash) WHERE key_hash IS NOT NULL;

CREATE TABLE tombstone (
    id              TEXT PRIMARY KEY,
    workspace       TEXT NOT NULL,
    key_fingerprint TEXT,
    key_hash        BLOB,
    removed_at_ms   INTEGER NOT NULL
);

CREATE TABLE install_id (
    hash            BLOB PRIMARY KEY,
    device_id       TEXT NOT NULL,
    issued_at_ms    INTEGER NOT NULL,
    expires_at_ms   INTEGER NOT NULL,
    revoked_at_ms   INTEGER,
    redeemed_at_ms  INTEGER,
    key_fingerprint TEXT
);

CREATE INDEX install_id_device ON install_id (device_id);

CREATE TABLE api_key (
    hash          BLOB PRIMARY KEY,
    workspace     TEXT NOT NULL,
    scopes        TEXT,
    device_id     TEXT,
    label         TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER
);

-- Appended in the order of arrival, so that the oldest beats are the first rows and cost nothing to find.
CREATE TABLE beat (
    number         INTEGER PRIMARY KEY,
    device         INTEGER NOT NULL,
    boot_id        TEXT NOT NULL,
    sequence       INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    monotonic_s    REAL NOT NULL,
    wall_s         REAL NOT NULL,
    load1          REAL,
    memory_used    REAL,
    disk_used      REAL,
    temperature_c  REAL,
    late           INTEGER NOT NULL,
    reason         TEXT,
    UNIQUE (device, boot_id, sequence)
);
