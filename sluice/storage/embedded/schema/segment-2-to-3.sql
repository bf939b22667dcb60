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

UPDATE meta SET v = 3 WHERE key = 'format';
