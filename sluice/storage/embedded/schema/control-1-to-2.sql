-- control.db from edition 1 to 2: accounts may have what their plan does not say.

ALTER TABLE accounts ADD COLUMN own BLOB NOT NULL DEFAULT x'7b7d'
