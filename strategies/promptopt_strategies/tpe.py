"""TPE: Optuna's tree-structured Parzen estimator over components, layouts and sets of demonstrations.

Optuna runs as an ask/tell loop in memory; it neither calls a model nor stores anything.

Profiles:
    paper: Every choice is estimated by itself, as the estimator was first described.
    recommended: Ours. All choices are estimated together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from promptopt.ask import Recommend, Search
from promptopt.errors import ConfigError
from promptopt.prompt import Candidate, distinct
from promptopt.selection import Drop
from promptopt.settings import require_at_least, require_at_most
from promptopt.strategy import Context, Estimate, Need
from promptopt_strategies.operators import random_demos
from promptopt_strategies.scoreboard import Scoreboard, common_rows
from promptopt_strategies.space import Genome, Space

if TYPE_CHECKING:
    import optuna

DEMOS = "demos"


@dataclass(frozen=True)
class TPE:
    """Lets Optuna's TPE choose the level of every choice and one of several sets of demonstrations.

    1. *Try.* The seed first, then what the sampler suggests, each on the same few rows. A prompt that is suggested
       again is scored on further rows, so that the sampler's favourites become known better.
    2. *Final.* Race the best and the seeds; small samples of rows never decide the winner.

    The sampler is seeded from the context. Its choices are the same for the same version of Optuna, which the study
    records.

    Asks: one Evaluate a suggestion, then those of the race.

    Args:
        rows: Examples that a suggestion is scored on.
        startup: Random suggestions before the estimator is used.
        demo_sets: Sets of demonstrations that are drawn beforehand, the seed's own among them.
        multivariate: Estimate all choices together instead of one by one.
        reserve: The share of the plan that is kept for the race.
        finalists: Prompts in the race, besides the seeds.
        block: Rows between two looks at the race.

    Reference:
        Bergstra et al. 2011, Algorithms for hyper-parameter optimization, section 4; Opsahl-Ong et al. 2024, Optimizing
        instructions and demonstrations for multi-stage language model programs (TPE over the numbers of texts and of
        sets of demonstrations).
    """

    rows: int = 10
    startup: int = 10
    demo_sets: int = 12
    multivariate: bool = True
    reserve: float = 0.3
    finalists: int = 5
    block: int = 5

    name: ClassVar[str] = "tpe"
    version: ClassVar[str] = "1"
    needs: ClassVar[frozenset[Need]] = frozenset()
    control: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("optuna",)
    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"recommended": {}, "paper": {"multivariate": False}}

    def __post_init__(self) -> None:
        require_at_least(self, 1, "rows", "startup", "demo_sets", "finalists", "block")
        require_at_least(self, 0, "reserve")
        require_at_most(self, 1, "reserve")

    def estimate(self, context: Context) -> Estimate:
        """Return the whole plan: it is used up to less than a block.

        Raises:
            ConfigError: Optuna is not installed.
        """
        _optuna()
        return Estimate(context.evaluations)

    def search(self, context: Context) -> Search[None]:
        """Ask the sampler, score what it suggests and tell it, until the reserve is left; then race the best."""
        space, board = Space.of(context), Scoreboard(context.evaluations)
        rows = common_rows(context)
        study, options = _study(self, context.rng("tpe")), _options(self, context, space)
        distributions = _distributions(options)
        study.enqueue_trial(dict.fromkeys(options, 0))
        kept, idle = int(self.reserve * context.evaluations), 0
        while board.remaining > kept and idle < len(rows):
            trial = study.ask(distributions)
            candidate = _candidate(space, options, trial.params)
            seen, left = board.seen.get(candidate.id), board.remaining
            course = rows[: (seen.n if seen else 0) + min(self.rows, left - kept)]
            yield from board.score([candidate], course)
            study.tell(trial, board.mean(candidate))
            yield Recommend(tuple(board.best()))
            idle = idle + 1 if board.remaining == left else 0
        seeds = [Candidate(seed) for seed in context.seeds]
        ranking = yield from board.race([*seeds, *board.best()[: self.finalists]], rows, self.block, Drop())
        best = distinct([*ranking.candidates, *board.best()])
        yield Recommend(best, "rank", tuple(map(board.mean, best)))


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ConfigError('tpe: needs the package optuna; install it with: pip install -e ".[optuna]"') from None
    return optuna


def _study(strategy: TPE, rng: Random) -> "optuna.Study":
    """Return a study in memory; that it was made is nothing to log."""
    library = _optuna()
    sampler = library.samplers.TPESampler(
        seed=rng.getrandbits(32), n_startup_trials=strategy.startup, multivariate=strategy.multivariate
    )
    level = library.logging.get_verbosity()
    library.logging.set_verbosity(library.logging.WARNING)
    study: optuna.Study = library.create_study(sampler=sampler, direction="maximize")
    library.logging.set_verbosity(level)
    return study


def _distributions(options: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    choose = _optuna().distributions.CategoricalDistribution
    return {name: choose(tuple(range(len(levels)))) for name, levels in options.items()}


def _options(strategy: TPE, context: Context, space: Space) -> Mapping[str, Sequence[Any]]:
    """Return what there is to choose, by name; the seed's option stands first."""
    rng = context.rng("demo sets")
    options: dict[str, Sequence[Any]] = {
        space.choices[n].name: range(len(space.choices[n].levels)) for n in space.free_choices
    }
    if space.max_demos:
        drawn = [random_demos(space, rng) for _ in range(strategy.demo_sets - 1)]
        options[DEMOS] = list(dict.fromkeys([space.seed_points[0].demos, *drawn]))
    return options


def _candidate(space: Space, options: Mapping[str, Sequence[Any]], chosen: Mapping[str, int]) -> Candidate:
    """Return the prompt that the sampler's numbers stand for."""
    seed = space.seed_points[0]
    levels = tuple(chosen.get(c.name, level) for c, level in zip(space.choices, seed.levels, strict=True))
    demos = options[DEMOS][chosen[DEMOS]] if DEMOS in options else seed.demos
    prompt = space.prompt(Genome(levels, demos))
    return Candidate(prompt) if prompt.id == space.seeds[0].id else Candidate(prompt, (space.seeds[0].id,), "tpe")
