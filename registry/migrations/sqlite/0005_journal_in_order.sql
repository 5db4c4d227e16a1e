-- Entries lie in the order in which they came, so that a commit of many runs adds to the end of the
-- table; it would otherwise rewrite a page for each of these runs.
ALTER TABLE journal RENAME TO journal_by_key;
CREATE TABLE journal (
    id    INTEGER PRIMARY KEY,
    run   INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    entry TEXT    NOT NULL
) STRICT;
INSERT INTO journal (run, seq, at, entry) SELECT run, seq, at, entry FROM journal_by_key ORDER BY at, run, seq;
DROP TABLE journal_by_key;
CREATE UNIQUE INDEX journal_by_run ON journal (run, seq);
