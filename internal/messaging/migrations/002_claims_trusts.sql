ALTER TABLE messaging_messages ADD COLUMN claim_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE messaging_subscriptions ADD COLUMN trust_id TEXT NOT NULL DEFAULT '';
ALTER TABLE messaging_deliveries ADD COLUMN expires BIGINT NOT NULL DEFAULT 9223372036854775807;
CREATE INDEX messaging_deliveries_expires ON messaging_deliveries (expires);
