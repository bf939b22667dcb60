-- Format 1 knew no changes to stored logs, and so no dead bytes.

ALTER TABLE pack ADD COLUMN dead INTEGER NOT NULL DEFAULT 0;

UPDATE meta SET v = 2 WHERE key = 'format';
