"""Grader: has a judge model grade outputs by their rubrics, always with the levels listed in both orders.

Every reading is stored as it comes, so that nothing is asked twice. Where the backend tells log-probabilities, those of
both orders are averaged, so that a liking for a letter cancels, and the mean level by what is left is the score; else
it is the mean of the two levels named.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from promptopt.agreement import GradeAudit, audit_grades
from promptopt.backends.base import Backend, Reply, Request
from promptopt.evaluation import ANSWERED
from promptopt.example import Example
from promptopt.health import SILENT_AFTER, TooManyFailuresError
from promptopt.ids import canonical_json, content_hash
from promptopt.judge_model import MAX_TOKENS, cut, listed_inputs, named_letter, ways_to_answer
from promptopt.layout import Message
from promptopt.ledger import Ledger
from promptopt.metric import Score
from promptopt.metrics.rubric import Rubric
from promptopt.store.rows import ReadingRow
from promptopt.store.store import Store

ORDERS = ("worst first", "best first")
REMARK = "remark"
CALLS = len(ORDERS)
UNREAD = "The judge's answer could not be read, so there is no score."
LETTERS = "ABCDEFGHIJ"
MOST_CHARACTERS = 600  # of a remark
REMARK_TOKENS = 96

GRADE = (
    "An answer was given to an input. Say which level it reaches.",
    "What counts:",
    "The levels:",
    "Which level does the answer reach? Reply with one letter, {letters}, and nothing else.",
)
COMMENT = (
    "An answer was given to an input. Say what keeps it from being better.",
    "What counts:",
    "In one or two sentences, name what the answer lacks or gets wrong. Do not write another answer.",
)

LEAST_CHANCE = 1e-4  # of a level; below, a backend that tells the likeliest tokens only knows nothing

Tick = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Work:
    """An output to be graded, under the key of its outcome."""

    key: str
    example: Example
    output: str
    rubric: Rubric


class Place(NamedTuple):
    """What is asked of the judge: an order of the levels, or a remark, on one work."""

    work: Work
    part: str


class Grader:
    """Grades outputs.

    Args:
        backend: The judge model.
        store: Where readings are kept.
        ledger: The caps.
        study_id: Who pays.
        remarked: Ids of the examples on which outputs below the best level get a remark, for critiques to read.
    """

    def __init__(
        self, backend: Backend, store: Store, ledger: Ledger, *, study_id: int, remarked: frozenset[str] = frozenset()
    ) -> None:
        self.backend = backend
        self._store = store
        self._ledger = ledger
        self._study_id = study_id
        self._remarked = remarked if "write" in backend.abilities else frozenset[str]()
        self._n_graded = self._n_read = 0

    @property
    def key(self) -> str:
        """The hash of the judge, of how it is asked, and of whether it writes remarks."""
        return content_hash(self._judge_key, bool(self._remarked))

    def grade(self, works: Sequence[Work], on_tick: Tick) -> Iterator[tuple[Work, Score | None]]:
        """Yield the score of each output with the judge's words; None where the judge could not be read.

        Args:
            works: What is to be graded.
            on_tick: Told the share that is done.

        Commits:
            Readings as they come.

        Raises:
            BudgetSpentError: A cap was reached first.
            TooManyFailuresError: Too few calls succeeded, or none of the first 40 outputs got a readable grade.
            FatalBackendError: The judge model cannot be used at all.
        """
        values = self._read(works, on_tick)
        lacking = [w for w in works if (v := values[w.key]) is not None and self._wants_remark(w, v)]
        remarks = self._comment(lacking, on_tick)
        for work in works:
            value = values[work.key]
            yield work, None if value is None else Score(value, _feedback(work.rubric, value, remarks.get(work.key)))

    def audit(self, rubrics: Iterable[Rubric]) -> GradeAudit | None:
        """Return how far the judge can be trusted, of all that the study has used; None before the first grade."""
        keys = [(self._part_key(r, ORDERS[0]), self._part_key(r, ORDERS[1])) for r in dict.fromkeys(rubrics)]
        pairs = [reading for up, down in keys for reading in self._store.reading_pairs(self._study_id, up, down)]
        n_unread = self._store.count_unscored(self._study_id, UNREAD)
        return audit_grades(self.backend.address, pairs, n_unread) if pairs or n_unread else None

    @property
    def _judge_key(self) -> str:
        return content_hash("grader", self.backend.model_key, GRADE, COMMENT)

    def _part_key(self, rubric: Rubric, part: str) -> str:
        """Return the key under which a reading is stored; the same whether there are remarks or not."""
        return content_hash(rubric.key, self._judge_key, part)

    def _read(self, works: Sequence[Work], on_tick: Tick) -> dict[str, float | None]:
        """Return the value of each output by its key: the mean of both orders, None without both."""
        readings = {place: row for part in ORDERS for place, row in self._known(works, part).items()}
        places = [place for part in ORDERS for work in works if (place := Place(work, part)) not in readings]
        for place, reply in self._ask(places, on_tick):
            row = self._keep(place, *read(reply, place.work.rubric, place.part), reply)
            if row.value is not None:
                readings[place] = row
        values: dict[str, float | None] = {}
        for work in works:
            up, down = (readings.get(Place(work, part)) for part in ORDERS)
            values[work.key] = combine(up, down, work.rubric) if up and down else None
            self._note(is_read=values[work.key] is not None)
        return values

    def _comment(self, works: Sequence[Work], on_tick: Tick) -> dict[str, str]:
        """Return the judge's remark on each output by its key; a remark that does not come is left out."""
        remarks = {place.work.key: row.text for place, row in self._known(works, REMARK).items()}
        places = [Place(work, REMARK) for work in works if work.key not in remarks]
        for place, reply in self._ask(places, lambda _: on_tick(1.0)):
            text = " ".join(reply.text.split())[:MOST_CHARACTERS] if reply.status in ANSWERED else ""
            if text:
                remarks[place.work.key] = text
            self._keep(place, 0.0 if text else None, text, reply)
        return remarks

    def _known(self, works: Sequence[Work], part: str) -> dict[Place, ReadingRow]:
        """Return the readings that the store holds."""
        found: dict[Place, ReadingRow] = {}
        for rubric in dict.fromkeys(work.rubric for work in works):
            mine = {work.key: work for work in works if work.rubric == rubric}
            rows = self._store.readings(list(mine), self._part_key(rubric, part))
            found |= {Place(mine[row.request_key], part): row for row in rows}
        return found

    def _ask(self, places: Sequence[Place], on_tick: Tick) -> Iterator[tuple[Place, Reply]]:
        done, requests = 0, ((place, self._question(place)) for place in places)
        with closing(self._ledger.run(self.backend, requests)) as arrivals:
            for arrival in arrivals:
                if arrival is not None:
                    done += 1
                    yield arrival
                on_tick(done / len(places))

    def _keep(self, place: Place, value: float | None, text: str, reply: Reply) -> ReadingRow:
        row = ReadingRow(place.work.key, self._part_key(place.work.rubric, place.part), value, text, reply.usage)
        self._store.add_readings(self._study_id, [row])
        return row

    def _wants_remark(self, work: Work, value: float) -> bool:
        best = len(work.rubric.scale) - 1
        return work.example.id in self._remarked and work.rubric.nearest(value) < best

    def _note(self, *, is_read: bool) -> None:
        """Stop when it is clear that this judge gives nothing that can be read."""
        self._n_graded += 1
        self._n_read += is_read
        if self._n_graded == SILENT_AFTER and not self._n_read:
            raise TooManyFailuresError(
                f"none of the first {SILENT_AFTER} outputs got a grade from {self.backend.address} that could be read; "
                "take another judge model"
            )

    def _question(self, place: Place) -> Request:
        """Return what is asked; the judge sees the input, the output and what counts, and never the prompt."""
        work, rubric, grades = place.work, place.work.rubric, place.part != REMARK
        intro, counts, *_, ending = GRADE if grades else COMMENT
        criteria = rubric.text.strip() or ("" if grades else rubric.scale[-1])
        head = [f"{intro}\n{counts} {criteria}" if criteria else intro]
        letters = tuple(LETTERS[: len(rubric.scale)]) if grades else ()
        if grades:
            levels = rubric.scale if place.part == ORDERS[0] else rubric.scale[::-1]
            listed = [f"{letter}. {level}" for letter, level in zip(letters, levels, strict=True)]
            head.append("\n".join([GRADE[2], *listed]))
            ending = ending.replace("{letters}", f"{letters[0]} to {letters[-1]}")
        body = [f"Input\n{listed_inputs(work.example)}"]
        if work.example.target:
            body.append(f"Reference answer\n{cut(work.example.target)}")
        body.append(f"Answer\n{cut(work.output)}")
        choices, allowed = ways_to_answer(letters, self.backend)
        return Request(
            mode="chat",
            messages=(Message("user", "\n\n".join([*head, *body, ending])),),
            max_tokens=MAX_TOKENS if grades else REMARK_TOKENS,
            choices=choices,
            allowed=allowed,
            group=f"grade {place.part}",
            shared=(Message("user", "\n\n".join(head)),),
        )


def read(reply: Reply, rubric: Rubric, order: str) -> tuple[float | None, str]:
    """Return what a reply is worth, None if no level can be read off it, and the chances of the levels as JSON."""
    letters = LETTERS[: len(rubric.scale)]
    step = 1 if order == ORDERS[0] else -1
    if reply.status == "ok" and len(reply.chances) == len(letters) and sum(reply.chances) > 0:
        chances = [round(chance, 6) for chance in reply.chances[::step]]
        return _expected(chances, rubric), canonical_json(chances)
    letter = named_letter(reply, letters)
    return None if letter is None else rubric.worth(letters[::step].index(letter)), ""


def combine(up: ReadingRow, down: ReadingRow, rubric: Rubric) -> float:
    """Return what the readings of both orders are worth together."""
    if not (up.text and down.text):
        return round(((up.value or 0.0) + (down.value or 0.0)) / CALLS, 9)
    both = zip(json.loads(up.text), json.loads(down.text), strict=True)
    return _expected([math.sqrt(max(LEAST_CHANCE, a) * max(LEAST_CHANCE, b)) for a, b in both], rubric)


def _expected(chances: Sequence[float], rubric: Rubric) -> float:
    weighted = math.fsum(chance * rubric.worth(place) for place, chance in enumerate(chances))
    return round(weighted / math.fsum(chances), 9)


def _feedback(rubric: Rubric, value: float, remark: str | None) -> str:
    """Return the judge's words: the nearest level, and the remark if there is one."""
    place = rubric.nearest(value)
    level = f"The judge's level is {place + 1} of {len(rubric.scale)}: {rubric.scale[place].rstrip('.')}."
    return f"{level} {remark}" if remark else level
