-- usage.db: what each gateway has stored, as the keeper reported it last. Rebuilt by its reports.

CREATE TABLE usage (
    account TEXT NOT NULL,
    gateway TEXT NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    PRIMARY KEY (account, gateway)
) STRICT, WITHOUT ROWID;
