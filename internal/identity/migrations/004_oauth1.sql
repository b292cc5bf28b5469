-- Delegation by OAuth 1.0a: request tokens until they are exchanged, access tokens until they are taken back.
CREATE TABLE identity_oauth_tokens (
	id TEXT PRIMARY KEY,
	kind TEXT NOT NULL,
	consumer_id TEXT NOT NULL REFERENCES identity_consumers (id) ON DELETE CASCADE,
	project_id TEXT NOT NULL,
	user_id TEXT,
	roles TEXT NOT NULL,
	verifier TEXT NOT NULL,
	secret TEXT NOT NULL,
	key_id TEXT,
	expires_at BIGINT NOT NULL
);
CREATE INDEX identity_oauth_tokens_user ON identity_oauth_tokens (user_id);
CREATE TABLE identity_oauth_nonces (
	consumer_id TEXT NOT NULL,
	nonce TEXT NOT NULL,
	used_at BIGINT NOT NULL,
	PRIMARY KEY (consumer_id, nonce)
);
CREATE INDEX identity_oauth_nonces_used ON identity_oauth_nonces (used_at);
