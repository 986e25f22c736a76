"""Simple regret of the selectors on 36 simulated arms: how much worse are the four chosen than the four best?

    python benchmarks/selectors.py [REPETITIONS]
"""

import random
import sys
from collections.abc import Callable
from functools import partial

from promptopt import selection, selection_as_coded
from promptopt.ask import Search
from promptopt.example import Example
from promptopt.layout import CHAT
from promptopt.prompt import Candidate, Prompt
from promptopt.testing.answers import answer_from, drive

ARMS, KEEP, BUDGET, EXAMPLES = 36, 4, 2_048, 1_200
