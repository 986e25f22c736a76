"""``promptopt optimize`` and ``promptopt resume``: run a study, show how it goes and what it came to."""

import sys
from dataclasses import replace
from typing import Annotated

import typer

from promptopt.budget import Budget
from promptopt.config import DEFAULT_STORE, StudySpec, spec_from_json
from promptopt.errors import BackendError, ConfigError
from promptopt_cli import options as o
from promptopt_cli.text import clean, words_for

EXAMPLE = 'Examples: promptopt optimize sentiment | promptopt optimize --data reviews.csv --prompt "Classify: {text}"'
RESUME_EXAMPLE = "Example: promptopt resume sentiment-irace-3f2a --add calls=500"
NO_MORE = Budget()
# A cap that is reached is what was asked for; calls that fail are not.
EXIT_CODES = {"end": 0, "cap": 0, "failures": 1, "interrupt": 130, "labels": 3}

Fork = Annotated[str | None, typer.Option("--fork", help="Start from the best prompts of this study.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Spend money without asking.")]
EstimateOnly = Annotated[bool, typer.Option("--estimate", help="Print what it would cost and stop.")]
Add = Annotated[
    list[str] | None,
    typer.Option("--add", help="Raise a cap, e.g. calls=500; a search that ended under one goes on."),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Ask again for what failed in the proof.")]


def optimize(
    source: o.Source = None,
    data: o.Data = None,
    task: o.Tasks = None,
    prompt: o.PromptText = None,
    metric: o.MetricName = None,
    rubric: o.RubricText = None,
    level: o.Levels = None,
    column: o.Columns = None,
    model: o.Model = None,
    optimizer: o.Optimizer = None,
    strategy: o.StrategyName = None,
    profile: o.Profile = None,
    set_: o.Settings = None,
    then: o.Then = None,
    share: o.Share = None,
    evaluations: o.Evaluations = None,
    max_calls: o.MaxCalls = None,
    max_tokens: o.MaxTokens = None,
    max_seconds: o.MaxSeconds = None,
    max_usd: o.MaxUsd = None,
    price: o.Price = None,
    optimizer_price: o.OptimizerPrice = None,
    judge_price: o.JudgePrice = None,
    model_option: o.ModelOptions = None,
    answer_tokens: o.AnswerTokens = None,
    temperature: o.Temperature = None,
    scoring: o.Scoring = None,
    mode: o.Mode = None,
    part: o.Parts = None,
    study: o.Name = None,
    seed: o.Seed = None,
    store: o.StoreOption = None,
    cache: o.Cache = None,
    min_valid: o.MinValid = None,
    length_penalty: o.LengthPenalty = None,
    guard: o.Guard = None,
    judge: o.Judge = None,
    criteria: o.Criteria = None,
    embed: o.Embed = None,
    fork: Fork = None,
    yes: Yes = False,
    estimate: EstimateOnly = False,
    as_json: o.AsJson = False,
) -> None:
    """Find a better prompt and prove it on held-out examples.

    The same command goes on where it stood, or shows the result of the finished study.
    """
    spec = o.read_source(source, data, task)
    editable = tuple(part) if part else None
    spec = o.with_task(
        spec,
        prompt=prompt,
        metric=metric,
        rubric=rubric,
        levels=tuple(level) if level else None,
        columns=column,
        max_tokens=answer_tokens,
        temperature=temperature,
        scoring=scoring,
        mode=mode,
        editable=editable,
    )
    spec = o.with_model(
        spec,
        task=model,
        optimizer=optimizer,
        price=price,
        optimizer_price=optimizer_price,
        options=model_option,
        embed=embed,
    )
    spec = o.with_judge(spec, judge, criteria, judge_price)
    spec = o.with_strategy(spec, set_, name=strategy, profile=profile, then=then, share=share)
    spec = o.with_budget(
        spec, evaluations=evaluations, calls=max_calls, tokens=max_tokens, seconds=max_seconds, usd=max_usd
    )
    spec = o.with_study(
        spec, name=study, seed=seed, store=store, cache=cache, min_valid=min_valid, length_penalty=length_penalty
    )
    spec = o.with_guards(spec, guard)
    if estimate:
        _estimate(spec, as_json=as_json)
    else:
        run(spec, fork=fork, yes=yes, as_json=as_json)


def resume(
    study: Annotated[str, typer.Argument(help="The study's name; see: promptopt studies list.")],
    store: o.StorePath = DEFAULT_STORE,
    add: Add = None,
    retry_failed: RetryFailed = False,
    yes: Yes = False,
    as_json: o.AsJson = False,
) -> None:
    """Go on with a stored study; what came in is not asked again."""
    from promptopt.report import study_spec

    spec = replace(spec_from_json(study_spec(store, study)), store=store)
    if not spec.task.is_named:
        raise ConfigError(f"The study '{study}' was made from Python; run the same script again to go on.")
    run(spec, more=o.budget_of(add or ()), retry_failed=retry_failed, yes=yes, as_json=as_json)


def run(
    spec: StudySpec,
    *,
    fork: str | None = None,
    more: Budget = NO_MORE,
    retry_failed: bool = False,
    yes: bool,
    as_json: bool,
) -> None:
    """Open the study, say what it will take, run it, and show the result."""
    from promptopt import api
    from promptopt_cli import show
    from promptopt_cli.live import LiveLine, show_download

    line = LiveLine(quiet=as_json)
    with api.open_study(spec, fork_of=fork, observer=line.show, download=show_download) as study:
        if not as_json:
            show.preview(study, api.preview(study))
        if spec.budget.usd is not None or spec.model.price:
            ask_before_spending(yes=yes)
        if retry_failed or more.caps():
            study.extend(more, retry_failed=retry_failed)
        again = f"promptopt resume {words_for(study.row.name, spec.store)}"
        try:
            with line:
                result = study.run()
        except BackendError as error:
            error.add_note(f"What came in is stored; go on with: {again}")
            raise
    if as_json:
        show.as_json(result.to_json())
    else:
        show.result(result.to_json(), spec.store)
    if result.state == "waiting":
        label = f"promptopt label {words_for(result.name, spec.store)}"
        print(clean(f"Waiting: {result.reason}. Give verdicts with: {label}"), file=sys.stderr)
        raise typer.Exit(EXIT_CODES[result.cause])
    if result.state == "paused":
        print(clean(f"Paused: {result.reason}. Go on with: {again}"), file=sys.stderr)
        raise typer.Exit(EXIT_CODES[result.cause])


def _estimate(spec: StudySpec, *, as_json: bool) -> None:
    """Say what a study would take, in a store that is thrown away."""
    import tempfile

    from promptopt import api
    from promptopt_cli import show
    from promptopt_cli.live import show_download

    with (
        tempfile.TemporaryDirectory() as folder,
        api.open_study(replace(spec, store=f"{folder}/estimate.db"), download=show_download) as study,
    ):
        preview = api.preview(study)
        if as_json:
            show.as_json(preview)
        else:
            show.preview(study, preview, stored=False)


def ask_before_spending(*, yes: bool) -> None:
    """Ask whether a study may spend money, unless that was said."""
    if yes or not sys.stdin.isatty():
        if not yes:
            raise ConfigError("this study spends money; say --yes, since nobody can be asked here.")
        return
    if not typer.confirm("Spend it?", default=False):
        raise typer.Exit(0)
