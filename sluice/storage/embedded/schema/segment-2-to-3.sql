-- Format 2 had no roll-ups. Logs that it holds already stay out of them: nobody reads a million rows at a start.

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

CREATE TABLE minute (
  t INTEGER NOT NULL,
  series INTEGER NOT NULL,
  n INTEGER NOT NULL,
  tin INTEGER NOT NULL,
  tout INTEGER NOT NULL,
  cost INTEGER NOT NULL,
  duration BLOB NOT NULL,
  latency BLOB NOT NULL,
  PRIMARY KEY (t, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE hour (
  t INTEGER NOT NULL,
  series INTEGER NOT NULL,
  n INTEGER NOT NULL,
  tin INTEGER NOT NULL,
  tout INTEGER NOT NULL,
  cost INTEGER NOT NULL,
  duration BLOB NOT NULL,
  latency BLOB NOT NULL,
  PRIMARY KEY (t, series)
) STRICT, WITHOUT ROWID;

-- What bodies of this segment were compressed with, the newest last: the id that their frames name, the dictionary, and
-- what it left of bytes of which it knew nothing when it was new.
CREATE TABLE zdict (
  n INTEGER PRIMARY KEY,
  id INTEGER NOT NULL UNIQUE,
  d BLOB NOT NULL,
  ratio REAL NOT NULL
) STRICT;

ALTER TABLE pack ADD COLUMN since INTEGER;
UPDATE pack SET since = 0 WHERE dead > 0;

CREATE INDEX i_failed ON log (k) WHERE (flags & 1) = 0;
CREATE INDEX i_cached ON log (k) WHERE (flags & 2) <> 0;

UPDATE meta SET v = 3 WHERE key = 'format';
