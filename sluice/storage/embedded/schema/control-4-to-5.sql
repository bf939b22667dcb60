-- control.db, edition 4 to 5. One statement per block, blocks parted by an empty line.

-- How often the gateway's cache was cleared.
ALTER TABLE gateways ADD COLUMN cache_epoch INTEGER NOT NULL DEFAULT 0;
