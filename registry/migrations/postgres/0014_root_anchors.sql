-- The anchors of the root chain, of which each stands for all records before it. A quotation mark within a text of a record is
-- escaped, so no other record has these members.
CREATE INDEX audit_root_anchors ON audit_root (number)
    WHERE strpos(record, '"event":{"kind":"anchor","part":0,') > 0;
