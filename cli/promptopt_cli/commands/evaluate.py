"""``promptopt evaluate``: score one prompt on one split, without any search."""

from typing import Annotated, Any, cast

import typer

from promptopt_cli import options as o

EXAMPLE = 'Example: promptopt evaluate sentiment --prompt "Is this review positive or negative?" --split dev'

SplitName = Annotated[str, typer.Option("--split", help="train, dev or test; each look at test is recorded.")]
Repeat = Annotated[
    int, typer.Option("--repeat", min=0, help="Which independent draw, where the temperature is above 0.")
]


def evaluate(
    source: o.Source = None,
    data: o.Data = None,
    task: o.Tasks = None,
    prompt: o.PromptText = None,
    metric: o.MetricName = None,
    rubric: o.RubricText = None,
    level: o.Levels = None,
    column: o.Columns = None,
    model: o.Model = None,
    model_option: o.ModelOptions = None,
    split: SplitName = "dev",
    max_calls: o.MaxCalls = None,
    answer_tokens: o.AnswerTokens = None,
    temperature: o.Temperature = None,
    scoring: o.Scoring = None,
    mode: o.Mode = None,
    judge: o.Judge = None,
    repeat: Repeat = 0,
    store: o.StoreOption = None,
    as_json: o.AsJson = False,
) -> None:
    """Score a prompt on one split, with its interval and errors."""
    from promptopt import api
    from promptopt_cli import show
    from promptopt_cli.live import LiveLine, show_download

    spec = o.with_task(
        o.read_source(source, data, task),
        prompt=prompt,
        metric=metric,
        rubric=rubric,
        levels=tuple(level) if level else None,
        columns=column,
        max_tokens=answer_tokens,
        temperature=temperature,
        scoring=scoring,
        mode=mode,
    )
    spec = o.with_judge(spec, judge)
    spec = o.with_study(
        o.with_budget(o.with_model(spec, task=model, options=model_option), calls=max_calls), store=store
    )
    with LiveLine(quiet=as_json) as line:
        measured = api.evaluate(spec, cast("Any", split), repeat=repeat, observer=line.show, download=show_download)
    if as_json:
        show.as_json(measured.to_json())
    else:
        show.measured(measured.to_json())
