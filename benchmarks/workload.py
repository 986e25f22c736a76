"""The work that every client of the benchmark gets: one prompt on n examples, as a task and as plain request bodies."""

import orjson
from mock_server import LABELS, MODEL

from promptopt.example import Dataset, Example
from promptopt.layout import chat_layout
from promptopt.metrics import open_metric
from promptopt.prompt import Prompt
from promptopt.task import Decoding, Task

MAX_TOKENS = 12
INSTRUCTION = (
    "Name the colour that the note is about. Read the whole note before you answer, and look at the last sentence with "
    "special care. If two colours seem possible, take the more common one. Answer with one word: red, green or blue. "
    "Do not explain your answer, do not repeat the note, and write nothing after the colour."
)
NOTE = "Note {} from the harbour: the boats came in late today, the nets were full, and the paint on the third was wet."


def examples(first: int, n: int) -> tuple[Example, ...]:
    return tuple(Example({"note": NOTE.format(i)}, LABELS[i % 3]) for i in range(first, first + n))


def task_of(dev: int, train: int = 2, test: int = 0) -> Task:
    """Return the task with so many examples; an answer cut short is missing and not wrong."""
    dataset = Dataset("notes", examples(0, train), examples(train, dev), examples(train + dev, test))
    seed = Prompt.of(INSTRUCTION, chat_layout({"note": "Note"}), answer_cue="Colour:")
    decoding = Decoding(max_tokens=MAX_TOKENS, score_truncated=False)
    return Task(
        "notes", "Name the colour that a note is about.", dataset, open_metric("exact-match"), (seed,), decoding
    )


def messages(n: int) -> list[list[dict[str, str]]]:
    """Return the chat messages of the seed prompt on the dev examples."""
    task = task_of(n)
    template = task.seeds[0].template(task.fields)
    return [
        [{"role": message.role, "content": message.content} for message in template.render(example)]
        for example in task.dataset.dev
    ]


def bodies(n: int) -> list[bytes]:
    """Return the requests as they go over the wire."""
    return [
        orjson.dumps({"model": MODEL, "messages": asked, "temperature": 0.0, "max_tokens": MAX_TOKENS})
        for asked in messages(n)
    ]
