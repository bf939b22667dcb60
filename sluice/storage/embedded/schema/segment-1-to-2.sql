-- Format 1 knew one segment a shard, which becomes the first of many, and no changes to stored logs, so no dead bytes.

ALTER TABLE pack ADD COLUMN dead INTEGER NOT NULL DEFAULT 0;

CREATE TABLE earlier (
  number INTEGER PRIMARY KEY,
  rows INTEGER NOT NULL,
  k_min INTEGER NOT NULL,
  k_max INTEGER NOT NULL,
  arrived INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  sealed INTEGER NOT NULL,
  floor INTEGER NOT NULL,
  gone INTEGER NOT NULL
) STRICT;

INSERT INTO meta VALUES ('floor', -1), ('gone', 0), ('created', (SELECT ifnull(min(k) >> 21, 0) FROM log));

UPDATE meta SET v = 2 WHERE key = 'format';
