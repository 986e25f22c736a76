"""Store: one SQLite file that holds every study, trial, call, score and preference.

Each part of it has a file of its own beside this one; they share one connection and one lock.
"""

from promptopt.store.contents import Contents
from promptopt.store.journal import Journal
from promptopt.store.labels import Labels
from promptopt.store.outcomes import Outcomes
from promptopt.store.passes import Passes
from promptopt.store.studies import Studies


class Store(Contents, Studies, Journal, Outcomes, Labels, Passes):
    """An open store; ``Store.open(path)`` makes one, and it is a context manager.

    Threads may share it and take turns. Several processes may open the same file: all can read while one writes, and
    a lease keeps two of them from working on the same study. Every method says what it commits; what it has
    committed outlives the death of the process.
    """
