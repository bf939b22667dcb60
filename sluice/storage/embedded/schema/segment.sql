-- One segment of a gateway's logs. The narrow table is what lists and filters scan, the wide one what a single log adds.
-- Texts that repeat are numbers here, their words in `name`. NULL is unknown or absent, never 0.

CREATE TABLE log (
  k INTEGER PRIMARY KEY,          -- the first 69 bits of the log id: Unix ms << 21 | worker << 14 | counter
  provider INTEGER NOT NULL,      -- name
  model INTEGER NOT NULL,         -- name
  status INTEGER NOT NULL,
  flags INTEGER NOT NULL,         -- success 1, cached 2, custom_cost 4, authentication 8, wholesale 16, byok 32, compat 64,
                                  -- payload 128, incomplete 256, request_truncated 512, response_truncated 1024
  duration INTEGER NOT NULL,      -- ms
  tin INTEGER,
  tout INTEGER,
  cost INTEGER,                   -- nano-USD
  feedback INTEGER,
  ua INTEGER,                     -- name: user agent
  mtype INTEGER,                  -- name: model type
  rtype INTEGER NOT NULL,         -- name: request type
  rqct INTEGER,                   -- name: content type of the request, of the response
  rsct INTEGER
) STRICT;

CREATE TABLE det (
  k INTEGER PRIMARY KEY,
  id BLOB NOT NULL,               -- the whole log id, 16 bytes
  event_id TEXT,                  -- NULL where it is the log id; likewise request_id
  request_id TEXT,
  path INTEGER NOT NULL,          -- name
  step INTEGER NOT NULL,
  latency INTEGER,                -- ms
  skew INTEGER NOT NULL,          -- created_ms less the time inside the id
  score REAL,
  total INTEGER,                  -- tokens as the provider says them
  reasoning INTEGER,
  cached_in INTEGER,
  cache_write INTEGER,
  meta TEXT,                      -- JSON object
  extra TEXT,                     -- JSON object of the fields that rarely differ from their defaults
  rqce INTEGER,                   -- name: content encoding of the request, of the response
  rsce INTEGER,
  req_bytes INTEGER NOT NULL,     -- length on the wire, stored or not
  res_bytes INTEGER NOT NULL,
  req_pack INTEGER,               -- the stored body: which pack, where its zstd frame begins and how long that is,
  req_off INTEGER,                -- and its length decompressed. All NULL: none is kept. Only req_len known: it was lost
  req_z INTEGER,
  req_len INTEGER,
  res_pack INTEGER,
  res_off INTEGER,
  res_z INTEGER,
  res_len INTEGER
) STRICT;

-- 40-bit hashes of event ids, request ids and metadata values; a hit is always checked against det.
CREATE TABLE term (h INTEGER NOT NULL, k INTEGER NOT NULL, PRIMARY KEY (h, k)) STRICT, WITHOUT ROWID;

-- The order in which logs were stored: the ingest sequence. That of a deleted log leads nowhere.
CREATE TABLE arrival (n INTEGER PRIMARY KEY, k INTEGER NOT NULL) STRICT;

-- Repeating texts; a number means its word in this segment only, though the next one begins with a copy of the first ones.
CREATE TABLE name (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, v TEXT NOT NULL, UNIQUE (kind, v)) STRICT;

-- bytes: how far committed rows point into the pack. state: 0 being filled, 1 full, 2 one large body of its own,
-- 3 removed, for nothing in it lived, 4 a compacted copy in the making. dead: how many of its bytes were bodies of logs
-- that are deleted; since: when the first of them was, Unix ms.
CREATE TABLE pack (
  id INTEGER PRIMARY KEY,
  bytes INTEGER NOT NULL,
  state INTEGER NOT NULL,
  dead INTEGER NOT NULL DEFAULT 0,
  since INTEGER
) STRICT;

-- What bodies of this segment were compressed with, the newest last: the id that their frames name, the dictionary, and
-- what it left of bytes of which it knew nothing when it was new.
CREATE TABLE zdict (
  n INTEGER PRIMARY KEY,
  id INTEGER NOT NULL UNIQUE,
  d BLOB NOT NULL,
  ratio REAL NOT NULL
) STRICT;

-- How far each spool is stored here; moves in the transaction that stores its rows.
CREATE TABLE ckpt (spool TEXT PRIMARY KEY, seq INTEGER NOT NULL, off INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- The catalogue: what the segments before this one hold, as far as they still count. True in the newest segment only.
CREATE TABLE earlier (
  number INTEGER PRIMARY KEY,
  rows INTEGER NOT NULL,          -- of its log
  k_min INTEGER NOT NULL,
  k_max INTEGER NOT NULL,
  arrived INTEGER NOT NULL,       -- the last ingest sequence in it
  bytes INTEGER NOT NULL,         -- of its packs
  sealed INTEGER NOT NULL,        -- 1: the database is <number>.sealed.db
  floor INTEGER NOT NULL,         -- logs with keys up to this one are removed, -1: none is
  gone INTEGER NOT NULL           -- how many those are
) STRICT;

-- Roll-ups: how many requests of a kind each minute and each hour saw. Written with the logs, never changed with them.
-- A series is a kind: with key '' one of provider, model, status, cached and error; else one of a value of the metadata
-- key, cached and error, the rest empty or 0. What is past the bound on series has the model or the value '(other)'.
CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  value TEXT NOT NULL,
  status INTEGER NOT NULL,
  cached INTEGER NOT NULL,
  error INTEGER NOT NULL,         -- 1: not success
  UNIQUE (key, provider, model, value, status, cached, error)
) STRICT;

CREATE TABLE minute (
  t INTEGER NOT NULL,             -- Unix minutes of the time at which the request began
  series INTEGER NOT NULL,
  n INTEGER NOT NULL,             -- requests
  tin INTEGER NOT NULL,           -- sums of tokens and cost, unknown ones counted as 0
  tout INTEGER NOT NULL,
  cost INTEGER NOT NULL,          -- nano-USD
  duration BLOB NOT NULL,         -- sketches: docs/storage.md
  latency BLOB NOT NULL,
  PRIMARY KEY (t, series)
) STRICT, WITHOUT ROWID;

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

-- format: version of this schema; rows: of log; arrived: the last ingest sequence given; floor, gone: as in `earlier`;
-- created: when this segment was begun, Unix ms; synced: up to where in the ingest sequence all is on disk, at least.
CREATE TABLE meta (key TEXT PRIMARY KEY, v INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('format', 3), ('rows', 0), ('arrived', 0), ('floor', -1), ('gone', 0), ('created', 0), ('synced', 0);

CREATE INDEX i_model ON log (model);
CREATE INDEX i_err ON log (status) WHERE status >= 400;
CREATE INDEX i_fb ON log (feedback) WHERE feedback IS NOT NULL;
CREATE INDEX i_failed ON log (k) WHERE (flags & 1) = 0; -- filters are written just so
CREATE INDEX i_cached ON log (k) WHERE (flags & 2) <> 0;
