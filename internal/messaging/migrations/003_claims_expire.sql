CREATE INDEX messaging_claims_expires ON messaging_claims (expires);
CREATE INDEX messaging_subscriptions_expires ON messaging_subscriptions (expires);
