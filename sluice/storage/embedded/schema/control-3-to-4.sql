-- control.db from edition 3 to 4: providers that accounts bring, and what their models cost.

-- The request path looks them up by slug; `config` is JSON of all fields.
CREATE TABLE custom_providers (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    slug TEXT NOT NULL COLLATE NOCASE,
    config BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    UNIQUE (account, slug)
) STRICT;

CREATE TABLE custom_costs (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    provider TEXT NOT NULL REFERENCES custom_providers (id) ON DELETE CASCADE,
    config BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX custom_costs_of_provider ON custom_costs (provider);

CREATE INDEX custom_costs_of_account ON custom_costs (account);
