-- stats.db of a shard: roll-ups of full segments by hour and by day, which outlive their logs. docs/storage.md.

CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  value TEXT NOT NULL,
  status INTEGER NOT NULL,
  cached INTEGER NOT NULL,
  error INTEGER NOT NULL,
  UNIQUE (key, provider, model, value, status, cached, error)
) STRICT;

CREATE TABLE hour (
  t INTEGER NOT NULL,             -- Unix hours
  series INTEGER NOT NULL,
  n INTEGER NOT NULL,
  tin INTEGER NOT NULL,
  tout INTEGER NOT NULL,
  cost INTEGER NOT NULL,
  duration BLOB NOT NULL,
  latency BLOB NOT NULL,
  PRIMARY KEY (t, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE day (
  t INTEGER NOT NULL,             -- Unix days, of UTC
  series INTEGER NOT NULL,
  n INTEGER NOT NULL,
  tin INTEGER NOT NULL,
  tout INTEGER NOT NULL,
  cost INTEGER NOT NULL,
  duration BLOB NOT NULL,
  latency BLOB NOT NULL,
  PRIMARY KEY (t, series)
) STRICT, WITHOUT ROWID;

-- Segments whose hours are in here; last: the last Unix minute in them, -1 of none. Those that are gone are number 0.
CREATE TABLE folded (segment INTEGER PRIMARY KEY, last INTEGER NOT NULL) STRICT;

PRAGMA user_version = 1;
