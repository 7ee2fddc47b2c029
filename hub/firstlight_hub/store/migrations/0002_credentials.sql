-- A credential's life: what was asked for, the candidate beside the present one, certificates, and signs of a clone.

ALTER TABLE device ADD COLUMN transport TEXT;
ALTER TABLE device ADD COLUMN credential TEXT;
ALTER TABLE device ADD COLUMN candidate_fingerprint TEXT;
ALTER TABLE device ADD COLUMN candidate_hash BLOB;
ALTER TABLE device ADD COLUMN candidate_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE device ADD COLUMN rotate_asked_at_ms INTEGER;
ALTER TABLE device ADD COLUMN revoked_at_ms INTEGER;
ALTER TABLE device ADD COLUMN boot_id TEXT;
ALTER TABLE device ADD COLUMN clone_at_ms INTEGER;
ALTER TABLE device ADD COLUMN gone_at_ms INTEGER;

-- Devices of the first version beat over HTTP with a secret.
UPDATE device SET transport = 'http', credential = 'secret' WHERE key_hash IS NOT NULL;

-- Kept beyond the device itself: a removed one's certificate stays revoked until it expires.
CREATE TABLE certificate (
    serial          TEXT PRIMARY KEY,
    device_id       TEXT NOT NULL,
    key_fingerprint TEXT NOT NULL,
    pem             TEXT NOT NULL,
    not_after_ms    INTEGER NOT NULL,
    revoked_at_ms   INTEGER
);

CREATE INDEX certificate_device ON certificate (device_id);
CREATE INDEX certificate_revoked ON certificate (not_after_ms) WHERE revoked_at_ms IS NOT NULL;
