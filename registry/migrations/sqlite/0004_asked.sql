-- Steps of a run that wait for a person: it waits until none does.
ALTER TABLE runs ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET asked = 1 WHERE state = 'waiting_approval';
