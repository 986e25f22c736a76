CREATE TABLE examples (
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE prompts (
    id TEXT NOT NULL,
    parts TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE studies (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    config TEXT NOT NULL,
    config_hash TEXT NOT NULL,
    seed INTEGER NOT NULL,
    versions TEXT NOT NULL,
    state TEXT NOT NULL,
    summary TEXT NOT NULL,
    dataset TEXT NOT NULL,
    budget TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    calls INTEGER DEFAULT '0' NOT NULL,
    tokens INTEGER DEFAULT '0' NOT NULL,
    usd FLOAT DEFAULT '0' NOT NULL,
    seconds FLOAT DEFAULT '0' NOT NULL,
    lease_host TEXT,
    lease_pid INTEGER,
    lease_started TEXT,
    lease_since TEXT,
    lease_renewed FLOAT,
    UNIQUE (name)
);

CREATE TABLE test_uses (
    dataset TEXT NOT NULL,
    study INTEGER NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (dataset, study)
);

CREATE TABLE vectors (
    text TEXT NOT NULL,
    encoder_key TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (text, encoder_key)
);

CREATE TABLE asks (
    study INTEGER NOT NULL,
    path TEXT NOT NULL,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL,
    digest TEXT DEFAULT '' NOT NULL,
    metric_key TEXT,
    payload TEXT,
    answer TEXT,
    opened TEXT NOT NULL,
    answered TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (study, path),
    FOREIGN KEY(study) REFERENCES studies (id) ON DELETE CASCADE
);

CREATE TABLE memberships (
    dataset TEXT NOT NULL,
    split TEXT NOT NULL,
    example TEXT NOT NULL,
    PRIMARY KEY (dataset, split, example),
    FOREIGN KEY(example) REFERENCES examples (id)
)
 WITHOUT ROWID;

CREATE TABLE outcomes (
    request_key TEXT NOT NULL,
    prompt TEXT NOT NULL,
    example TEXT NOT NULL,
    model_key TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    status TEXT NOT NULL,
    output TEXT NOT NULL,
    prompt_tokens INTEGER DEFAULT '0' NOT NULL,
    completion_tokens INTEGER DEFAULT '0' NOT NULL,
    cached_tokens INTEGER DEFAULT '0' NOT NULL,
    cost_usd FLOAT DEFAULT '0' NOT NULL,
    seconds FLOAT DEFAULT '0' NOT NULL,
    attempts INTEGER DEFAULT '0' NOT NULL,
    study INTEGER,
    error TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (request_key),
    FOREIGN KEY(prompt) REFERENCES prompts (id),
    FOREIGN KEY(example) REFERENCES examples (id),
    FOREIGN KEY(study) REFERENCES studies (id) ON DELETE SET NULL
);

CREATE TABLE passes (
    id TEXT NOT NULL,
    study INTEGER NOT NULL,
    labeller TEXT NOT NULL,
    kind TEXT NOT NULL,
    expires FLOAT NOT NULL,
    created TEXT NOT NULL,
    ended TEXT,
    PRIMARY KEY (id),
    FOREIGN KEY(study) REFERENCES studies (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE trials (
    study INTEGER NOT NULL,
    number INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    parents TEXT NOT NULL,
    operator TEXT NOT NULL,
    note TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (study, number),
    FOREIGN KEY(study) REFERENCES studies (id) ON DELETE CASCADE,
    FOREIGN KEY(prompt) REFERENCES prompts (id)
);

CREATE TABLE consumed (
    study INTEGER NOT NULL,
    path TEXT NOT NULL,
    request_key TEXT NOT NULL,
    prompt TEXT NOT NULL,
    PRIMARY KEY (study, path, request_key, prompt),
    FOREIGN KEY(study, path) REFERENCES asks (study, path) ON DELETE CASCADE,
    FOREIGN KEY(request_key) REFERENCES outcomes (request_key),
    FOREIGN KEY(prompt) REFERENCES prompts (id)
)
 WITHOUT ROWID;

CREATE TABLE duels (
    id TEXT NOT NULL,
    study INTEGER NOT NULL,
    path TEXT NOT NULL,
    number INTEGER DEFAULT '0' NOT NULL,
    place INTEGER DEFAULT '0' NOT NULL,
    "left" TEXT NOT NULL,
    "right" TEXT NOT NULL,
    example TEXT NOT NULL,
    left_outcome TEXT,
    right_outcome TEXT,
    quorum INTEGER DEFAULT '0' NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(study) REFERENCES studies (id),
    FOREIGN KEY("left") REFERENCES prompts (id),
    FOREIGN KEY("right") REFERENCES prompts (id),
    FOREIGN KEY(example) REFERENCES examples (id),
    FOREIGN KEY(left_outcome) REFERENCES outcomes (request_key),
    FOREIGN KEY(right_outcome) REFERENCES outcomes (request_key)
);

CREATE TABLE scores (
    request_key TEXT NOT NULL,
    metric_key TEXT NOT NULL,
    value FLOAT NOT NULL,
    feedback TEXT NOT NULL,
    prompt_tokens INTEGER DEFAULT '0' NOT NULL,
    completion_tokens INTEGER DEFAULT '0' NOT NULL,
    cached_tokens INTEGER DEFAULT '0' NOT NULL,
    cost_usd FLOAT DEFAULT '0' NOT NULL,
    seconds FLOAT DEFAULT '0' NOT NULL,
    PRIMARY KEY (request_key, metric_key),
    FOREIGN KEY(request_key) REFERENCES outcomes (request_key)
)
 WITHOUT ROWID;

CREATE TABLE texts (
    study INTEGER NOT NULL,
    path TEXT NOT NULL,
    "index" INTEGER NOT NULL,
    text TEXT NOT NULL,
    status TEXT NOT NULL,
    prompt_tokens INTEGER DEFAULT '0' NOT NULL,
    completion_tokens INTEGER DEFAULT '0' NOT NULL,
    cached_tokens INTEGER DEFAULT '0' NOT NULL,
    cost_usd FLOAT DEFAULT '0' NOT NULL,
    seconds FLOAT DEFAULT '0' NOT NULL,
    attempts INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (study, path, "index"),
    FOREIGN KEY(study, path) REFERENCES asks (study, path) ON DELETE CASCADE
);

CREATE TABLE duel_leases (
    duel TEXT NOT NULL,
    labeller TEXT NOT NULL,
    expires FLOAT NOT NULL,
    PRIMARY KEY (duel, labeller),
    FOREIGN KEY(duel) REFERENCES duels (id)
)
 WITHOUT ROWID;

CREATE TABLE preferences (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    duel TEXT NOT NULL,
    labeller TEXT NOT NULL,
    source TEXT NOT NULL,
    verdict TEXT NOT NULL,
    remark TEXT DEFAULT '' NOT NULL,
    catch INTEGER DEFAULT '0' NOT NULL,
    shown_first TEXT DEFAULT '' NOT NULL,
    millis INTEGER,
    at TEXT NOT NULL,
    detail TEXT DEFAULT '{}' NOT NULL,
    takes_back TEXT,
    taken_back INTEGER,
    UNIQUE (id),
    FOREIGN KEY(duel) REFERENCES duels (id)
);

CREATE INDEX duels_in_order ON duels (study, state, number, place);

CREATE INDEX preferences_of ON preferences (labeller, number);

CREATE INDEX preferences_on ON preferences (duel, labeller);

CREATE VIEW trial_scores AS
WITH seen AS (
    SELECT DISTINCT consumed.study, consumed.prompt, outcomes.request_key, outcomes.example, scores.value,
           outcomes.attempts, outcomes.prompt_tokens + outcomes.completion_tokens AS tokens, outcomes.cost_usd
    FROM consumed
    JOIN asks ON asks.study = consumed.study AND asks.path = consumed.path AND asks.path GLOB '[0-9]*'
    JOIN outcomes ON outcomes.request_key = consumed.request_key
    LEFT JOIN scores ON scores.request_key = outcomes.request_key AND scores.metric_key = asks.metric_key
    WHERE TRUE
),
sums AS (
    SELECT study, prompt, COUNT(value) AS n_scores, AVG(value) AS mean, SUM(value * value) AS squares,
           COUNT(DISTINCT CASE WHEN value IS NOT NULL THEN example END) AS n_valid, COUNT(DISTINCT example) AS n,
           SUM(attempts) AS calls, SUM(tokens) AS tokens, SUM(cost_usd) AS usd
    FROM seen GROUP BY study, prompt
)
SELECT trials.study, trials.number, trials.prompt, trials.state, sums.mean,
       CASE WHEN n_scores > 1
            THEN sqrt(max(0.0, squares - n_scores * mean * mean) / (n_scores - 1) / n_scores) END AS standard_error,
       sums.n_valid, sums.n, sums.calls, sums.tokens, sums.usd
FROM sums JOIN trials ON trials.study = sums.study AND trials.prompt = sums.prompt
ORDER BY trials.study, trials.number;

CREATE VIEW spend AS
SELECT id AS study, name, calls, tokens, usd, seconds FROM studies;
