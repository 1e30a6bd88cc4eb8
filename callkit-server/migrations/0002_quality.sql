-- How connections did, call by call: `at` orders the samples of a call, `record` is the sample.

CREATE TABLE quality (
    call   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX quality_of_call ON quality (call, at);
