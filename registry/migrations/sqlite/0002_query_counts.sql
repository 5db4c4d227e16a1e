-- Queries are counted apart from the requests that execute something (`requests`).
ALTER TABLE usage_minutes ADD COLUMN queries INTEGER NOT NULL DEFAULT 0;
