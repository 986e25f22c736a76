"""The tables and views of a store, for SQLAlchemy and for people who open the file with ``sqlite3``.

Ids of prompts, examples and outcomes are content hashes; times are UTC in ISO 8601; JSON stands as text.
"""

from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

metadata = MetaData()


def _text(name: str, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default="0")


def _amount(name: str) -> Column[float]:
    return Column(name, Float, nullable=False, server_default="0")


def _study(on_delete: str | None = "CASCADE", *, primary_key: bool = True) -> Column[int]:
    return Column("study", ForeignKey("studies.id", ondelete=on_delete), primary_key=primary_key, nullable=False)


def _ask() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["study", "path"], ["asks.study", "asks.path"], ondelete="CASCADE")


def _usage() -> list[Column[int] | Column[float]]:
    """What calls took: tokens, US dollars, seconds."""
    tokens = [_count("prompt_tokens"), _count("completion_tokens"), _count("cached_tokens")]
    return [*tokens, _amount("cost_usd"), _amount("seconds")]


prompts = Table("prompts", metadata, Column("id", Text, primary_key=True), _text("parts"))

examples = Table("examples", metadata, Column("id", Text, primary_key=True), _text("body"))

memberships = Table(
    "memberships",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("split", Text, primary_key=True),
    Column("example", ForeignKey("examples.id"), primary_key=True),
    sqlite_with_rowid=False,
)

studies = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _text("config"),
    _text("config_hash"),
    Column("seed", Integer, nullable=False),
    _text("versions"),
    _text("state"),
    _text("summary"),
    _text("dataset"),
    _text("budget"),
    _text("created"),
    _text("updated"),
    # What the study has paid. Kept here and not summed from the outcomes, since an outcome that two studies paid for
    # at the same time is one row, and since the budget is looked at after every ask.
    _count("calls"),
    _count("tokens"),
    _amount("usd"),
    _amount("seconds"),
    # The lease of the one process that may write for this study; all NULL when nobody holds it.
    Column("lease_host", Text),
    Column("lease_pid", Integer),
    Column("lease_started", Text),
    Column("lease_since", Text),
    Column("lease_renewed", Float),
    # An id is never used twice, so the test uses of a deleted study still count as another study's.
    sqlite_autoincrement=True,
)

asks = Table(
    "asks",
    metadata,
    _study(),
    Column("path", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    _text("kind"),
    _text("fingerprint"),
    _text("state"),
    _text("digest", ""),
    Column("metric_key", Text),
    Column("payload", Text),
    Column("answer", Text),
    _text("opened"),
    _text("answered", ""),
)

texts = Table(
    "texts",
    metadata,
    Column("study", Integer, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("index", Integer, primary_key=True),
    _text("text"),
    _text("status"),
    *_usage(),
    _count("attempts"),
    _ask(),
)

trials = Table(
    "trials",
    metadata,
    _study(),
    Column("number", Integer, primary_key=True),
    Column("prompt", ForeignKey("prompts.id"), nullable=False),
    _text("parents"),
    _text("operator"),
    _text("note"),
    _text("state"),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("request_key", Text, primary_key=True),
    Column("prompt", ForeignKey("prompts.id"), nullable=False),
    Column("example", ForeignKey("examples.id"), nullable=False),
    _text("model_key"),
    Column("repeat", Integer, nullable=False),
    _text("status"),
    _text("output"),
    *_usage(),
    _count("attempts"),
    Column("study", ForeignKey("studies.id", ondelete="SET NULL")),
    _text("error", ""),
)

scores = Table(
    "scores",
    metadata,
    Column("request_key", ForeignKey("outcomes.request_key"), primary_key=True),
    Column("metric_key", Text, primary_key=True),
    Column("value", Float, nullable=False),
    _text("feedback"),
    *_usage(),
    sqlite_with_rowid=False,
)

consumed = Table(
    "consumed",
    metadata,
    Column("study", Integer, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("request_key", ForeignKey("outcomes.request_key"), primary_key=True),
    # Two prompts that render alike share an outcome, so the one that was asked about is kept here.
    Column("prompt", ForeignKey("prompts.id"), primary_key=True),
    _ask(),
    sqlite_with_rowid=False,
)

vectors = Table(
    "vectors",
    metadata,
    Column("text", Text, primary_key=True),
    Column("encoder_key", Text, primary_key=True),
    Column("vector", LargeBinary, nullable=False),
)

# Studies with duels can't be deleted: people's labels are dear and go only when somebody says so.
# ``number`` is the step that asked and ``place`` the duel's place in it. ``state`` is ``asked`` until both outputs are
# there, ``open`` while it waits for ``quorum`` people (0 where none are asked), then ``settled``.
duels = Table(
    "duels",
    metadata,
    Column("id", Text, primary_key=True),
    _study(None, primary_key=False),
    _text("path"),
    _count("number"),
    _count("place"),
    Column("left", ForeignKey("prompts.id"), nullable=False),
    Column("right", ForeignKey("prompts.id"), nullable=False),
    Column("example", ForeignKey("examples.id"), nullable=False),
    Column("left_outcome", ForeignKey("outcomes.request_key")),
    Column("right_outcome", ForeignKey("outcomes.request_key")),
    _count("quorum"),
    _text("state"),
    Index("duels_in_order", "study", "state", "number", "place"),
)

# Which person has which duel on screen, until when (seconds since 1970): two do not get the same one unless the quorum
# wants both.
duel_leases = Table(
    "duel_leases",
    metadata,
    Column("duel", ForeignKey("duels.id"), primary_key=True),
    Column("labeller", Text, primary_key=True),
    Column("expires", Float, nullable=False),
    sqlite_with_rowid=False,
)

# Each row is an event, numbered in the order in which they happened. A row with ``takes_back`` says nothing of the duel
# but that an earlier one does not hold any more; that one bears its number in ``taken_back``. What was valid at any
# time is read off the numbers, so that an answer is replayed as it was given.
preferences = Table(
    "preferences",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("duel", ForeignKey("duels.id"), nullable=False),
    _text("labeller"),
    _text("source"),
    _text("verdict"),
    _text("remark", ""),
    _count("catch"),
    _text("shown_first", ""),
    Column("millis", Integer),
    _text("at"),
    _text("detail", "{}"),
    Column("takes_back", Text),
    Column("taken_back", Integer),
    Index("preferences_on", "duel", "labeller"),
    Index("preferences_of", "labeller", "number"),
    sqlite_autoincrement=True,
)

# What lets somebody label: links, each good for one exchange, and the sessions that they were exchanged for. Only the
# hash of a token stands here; ``ended`` says when it was used up or revoked.
passes = Table(
    "passes",
    metadata,
    Column("id", Text, primary_key=True),
    _study(primary_key=False),
    _text("labeller"),
    _text("kind"),
    Column("expires", Float, nullable=False),
    _text("created"),
    Column("ended", Text),
    sqlite_with_rowid=False,
)

# No foreign key: a test split that was opened stays opened when the study is deleted.
test_uses = Table(
    "test_uses",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("study", Integer, primary_key=True),
    _text("at"),
)

# Search asks have paths that begin with a number; the proof's do not, and its outcomes are no part of a trial.
# A prompt and example that several asks consumed count once. ``calls``, ``tokens`` and ``usd`` are what the outcomes
# took when they were made, whoever paid. ``{which}`` is here because SQLite does not carry a condition on a view into
# its groups, and one study of many should not wait for the others.
TRIAL_SCORES = """
WITH seen AS (
    SELECT DISTINCT consumed.study, consumed.prompt, outcomes.request_key, outcomes.example, scores.value,
           outcomes.attempts, outcomes.prompt_tokens + outcomes.completion_tokens AS tokens, outcomes.cost_usd
    FROM consumed
    JOIN asks ON asks.study = consumed.study AND asks.path = consumed.path AND asks.path GLOB '[0-9]*'
    JOIN outcomes ON outcomes.request_key = consumed.request_key
    LEFT JOIN scores ON scores.request_key = outcomes.request_key AND scores.metric_key = asks.metric_key
    WHERE {which}
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
ORDER BY trials.study, trials.number
"""

SPEND = "SELECT id AS study, name, calls, tokens, usd, seconds FROM studies"


# The statements that make a store, in a file beside this one: for people to read, and because SQLAlchemy takes three
# times as long to arrive at them as SQLite takes to run them. A test holds them to the tables above.
SCRIPT = Path(__file__).with_name("schema.sql")


def create(connection: Connection) -> None:
    """Make all tables and views in an empty database.

    Commits:
        Nothing; the caller's transaction does.
    """
    for statement in SCRIPT.read_text(encoding="utf-8").removesuffix(";\n").split(";\n"):
        connection.exec_driver_sql(statement)


def script() -> str:
    """Return what ``SCRIPT`` must hold: all tables, indexes and views as SQLAlchemy words them."""
    tables = metadata.sorted_tables
    indexes = sorted((index for table in tables for index in table.indexes), key=lambda index: str(index.name))
    made: list[ExecutableDDLElement] = [*map(CreateTable, tables), *map(CreateIndex, indexes)]
    views = ["CREATE VIEW trial_scores AS" + TRIAL_SCORES.format(which="TRUE"), "CREATE VIEW spend AS\n" + SPEND]
    texts = [*(str(one.compile(dialect=sqlite.dialect())) for one in made), *views]
    lines = ";\n\n".join(text.strip() for text in texts).splitlines()
    return "\n".join(line.rstrip().expandtabs(4) for line in lines) + ";\n"
