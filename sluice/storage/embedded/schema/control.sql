-- control.db, edition 2; the scripts beside it bring it to the present one. One statement per block, blocks parted by an empty line.

CREATE TABLE accounts (
    id TEXT PRIMARY KEY,
    plan TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    own BLOB NOT NULL DEFAULT x'7b7d' -- JSON: what it may have other than its plan says
) STRICT, WITHOUT ROWID;

-- The request path reads the columns; people read `config`, JSON of all fields, the columns' among them.
CREATE TABLE gateways (
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    id BLOB NOT NULL UNIQUE,
    authentication INTEGER NOT NULL,
    collect_logs INTEGER NOT NULL,
    config BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    PRIMARY KEY (account, name)
) STRICT;

-- Gateways whose logs may be dropped.
CREATE TABLE deleted_gateways (
    id BLOB PRIMARY KEY,
    account TEXT NOT NULL,
    deleted_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    digest BLOB PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    gateway TEXT,
    name TEXT NOT NULL,
    permissions TEXT NOT NULL,
    expires_ms INTEGER,
    created_ms INTEGER NOT NULL,
    FOREIGN KEY (account, gateway) REFERENCES gateways (account, name) ON DELETE CASCADE
) STRICT;

CREATE INDEX tokens_of_account ON tokens (account, gateway);

-- `rates` is JSON; null remembers that the price list does not know the model. Rows that are not `listed` were asked for.
CREATE TABLE prices (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    rates BLOB,
    listed INTEGER NOT NULL,
    resolved_ms INTEGER NOT NULL,
    PRIMARY KEY (provider, model)
) STRICT;

CREATE INDEX prices_asked ON prices (resolved_ms) WHERE NOT listed;

CREATE TABLE editions (
    what TEXT PRIMARY KEY,
    edition TEXT NOT NULL
) STRICT, WITHOUT ROWID;
