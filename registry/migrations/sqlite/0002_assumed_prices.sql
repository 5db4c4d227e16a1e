-- What was reckoned by the price of a tier, for a model that has none of its own.
ALTER TABLE costs ADD COLUMN calls_assumed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE costs ADD COLUMN assumed_cost INTEGER NOT NULL DEFAULT 0;
