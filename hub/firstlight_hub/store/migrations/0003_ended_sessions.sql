-- Whose session at the broker must be ended, written by the very transaction that ends the credential: a hub that is
-- killed right after it, or cannot reach the broker, ends the session later. Numbers are never given twice, so what
-- ended again meanwhile is not forgotten with what was settled.

CREATE TABLE ended_session (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    device_id TEXT NOT NULL UNIQUE
);

-- Also where the credential of before was revoked already: nobody but the broker knows whether its session has ended.
CREATE TRIGGER credential_ended AFTER UPDATE OF key_hash, candidate_hash ON device
WHEN (old.key_fingerprint IS NOT NULL AND old.key_hash IS NOT new.key_hash)
  OR (old.candidate_hash IS NOT NULL AND old.candidate_hash IS NOT new.candidate_hash
      AND old.candidate_hash IS NOT new.key_hash)
BEGIN
    REPLACE INTO ended_session (device_id) VALUES (old.id);
END;

CREATE TRIGGER device_ended AFTER DELETE ON device WHEN old.key_fingerprint IS NOT NULL
BEGIN
    REPLACE INTO ended_session (device_id) VALUES (old.id);
END;
