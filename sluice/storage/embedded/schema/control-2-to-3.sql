-- control.db from edition 2 to 3: stored provider keys.

-- `sealed` opens under the master key and for this row alone (storage/sealing.py). `version` grows with each rotation.
CREATE TABLE provider_configs (
    id TEXT PRIMARY KEY,
    gateway_id BLOB NOT NULL REFERENCES gateways (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    alias TEXT NOT NULL,
    is_default INTEGER NOT NULL,
    secret_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    preview TEXT NOT NULL,
    version INTEGER NOT NULL,
    rate_limit INTEGER,
    rate_limit_period_s INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    UNIQUE (gateway_id, provider, alias)
) STRICT;

CREATE UNIQUE INDEX provider_configs_default ON provider_configs (gateway_id, provider) WHERE is_default;
