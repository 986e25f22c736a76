"""Word tasks: a word, the form that a spelling rule gives, and the exceptions written out in the text file.

A text file lists ``word`` or ``word/form/other right forms``.
"""

import random
from collections.abc import Callable

from promptopt.example import Split
from promptopt_datasets.generate.task import Row
from promptopt_datasets.generate.text import cut, read_lines


def word_rows(task: str, rule: Callable[[str], str], rng: random.Random) -> dict[Split, list[Row]]:
    """Return the splits of a task whose text file lists words and exceptions to ``rule``."""
    tokens = [token.split("/") for line in read_lines(task) for token in line.split()]
    rows = [Row(word, forms[0] if forms else rule(word), tuple(forms[1:])) for word, *forms in tokens]
    return cut(rng, [[row] for row in rows])
