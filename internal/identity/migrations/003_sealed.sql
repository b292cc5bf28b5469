ALTER TABLE identity_credentials ADD COLUMN key_id TEXT;
ALTER TABLE identity_consumers ADD COLUMN key_id TEXT;
