"""``python -m promptopt_datasets.generate [folder]``: write every ready task again.

Without a folder the files of the package itself are rewritten.
"""

import sys
from pathlib import Path

from promptopt_datasets.generate import antonym, extract, past_tense, plural, sentiment, topic
from promptopt_datasets.generate.task import write

TASKS = (sentiment.TASK, plural.TASK, antonym.TASK, topic.TASK, extract.TASK, past_tense.TASK)


def write_all(root: Path) -> None:
    """Write the folders of all ready tasks below ``root``."""
    for task in TASKS:
        write(task, root)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
