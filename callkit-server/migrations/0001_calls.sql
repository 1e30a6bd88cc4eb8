-- Calls, agents, chat and the event outbox. The JSON documents are the truth; the columns beside them are
-- what is searched and ordered by. Times are milliseconds since the Unix epoch.

CREATE TABLE calls (
    id          TEXT NOT NULL PRIMARY KEY,
    version     INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    enqueued_at INTEGER NOT NULL,
    ended       INTEGER NOT NULL,
    customer    TEXT NOT NULL,
    record      TEXT NOT NULL
) STRICT;
CREATE INDEX calls_open ON calls (enqueued_at, id) WHERE ended = 0;
CREATE INDEX calls_newest ON calls (created_at DESC, id DESC);
CREATE INDEX calls_of_customer ON calls (customer, created_at DESC, id DESC);

-- Who took part, for an agent's history.
CREATE TABLE call_agents (
    agent      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    call       TEXT NOT NULL REFERENCES calls (id),
    PRIMARY KEY (agent, created_at, call)
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    id      TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    record  TEXT NOT NULL
) STRICT;

CREATE TABLE chat (
    call      TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    id        TEXT NOT NULL UNIQUE,
    author    TEXT NOT NULL,
    client_id TEXT NOT NULL,
    record    TEXT NOT NULL,
    PRIMARY KEY (call, seq),
    UNIQUE (call, author, client_id)
) STRICT;

-- Consumers remember the position they got to. AUTOINCREMENT: a position is never given twice, also after
-- delivered events were removed.
CREATE TABLE events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    record   TEXT NOT NULL
) STRICT;
CREATE INDEX events_at ON events (at);
