"""``promptopt studies``: look at, compare and delete what the store holds."""

from typing import Annotated, Any

import typer

from promptopt.config import DEFAULT_STORE
from promptopt.errors import ConfigError
from promptopt_cli import options as o

app = typer.Typer(
    help="List, show, compare and delete stored studies.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: promptopt studies list",
)

Name = Annotated[str, typer.Argument(help="The study's name.")]
Front = Annotated[bool, typer.Option("--front", help="Show score against prompt tokens, and who is beaten by none.")]
Most = Annotated[int, typer.Option("--trials", help="How many trials to show.", min=0)]


@app.command("list", epilog="Example: promptopt studies list")
def list_(store: o.StorePath = DEFAULT_STORE, as_json: o.AsJson = False) -> None:
    """List the studies of a store with their verdicts."""
    from promptopt.report import list_studies
    from promptopt_cli import show

    lines = list_studies(store)
    if as_json:
        show.as_json(lines)
    else:
        show.studies(lines, store)


@app.command("show", epilog="Example: promptopt studies show sentiment-irace-3f2a --front")
def show_(
    study: Name,
    store: o.StorePath = DEFAULT_STORE,
    trials: Most = 10,
    front: Front = False,
    as_json: o.AsJson = False,
) -> None:
    """Show a study: verdict, final, prompts, effects, best trials.

    Or, with --front, how its candidates score against their length.
    """
    from promptopt.report import show_study
    from promptopt_cli import show

    if front:
        from promptopt.front import study_front
        from promptopt_cli.front import show_front

        points = study_front(store, study)
        show.as_json(points) if as_json else show_front(points)
        return
    data = show_study(store, study)
    if as_json:
        show.as_json(data)
        return
    if data["state"] == "interrupted":
        show.studies([data], store)
    elif "seed" in data:
        show.result({**data, "sentence": show.stand(data, store)}, store)
    show.trials(data, trials)


@app.command("best", epilog="Example: promptopt studies best sentiment-irace-3f2a --json")
def best(study: Name, store: o.StorePath = DEFAULT_STORE, as_json: o.AsJson = False) -> None:
    """Print the prompt that a study says to use."""
    from promptopt_cli.commands.export import export

    export(study, form="json" if as_json else "text", store=store)


@app.command("diff", epilog="Example: promptopt studies diff one-study another-study")
def diff(
    left: Name,
    right: Annotated[str, typer.Argument(help="Another study, or seed.")] = "seed",
    store: o.StorePath = DEFAULT_STORE,
) -> None:
    """Show two prompts side by side: of two studies, or seed and best."""
    from promptopt.report import best_prompt
    from promptopt_cli import show

    summary = best_prompt(store, left)[1]
    mine: dict[str, Any] = {**summary["best"], "title": f"{left}: best"}
    if right == "seed":
        show.diff({**summary["seed"], "title": f"{left}: seed"}, mine)
    else:
        show.diff(mine, {**best_prompt(store, right)[1]["best"], "title": f"{right}: best"})


@app.command("delete", epilog="Example: promptopt studies delete sentiment-irace-3f2a --yes")
def delete(
    study: Name,
    store: o.StorePath = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a study; outputs that other studies may use stay."""
    import sys

    from promptopt.report import delete_study

    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"deleting '{study}' needs --yes, since nobody can be asked here.")
        typer.confirm(f"Delete '{study}' and its trials?", abort=True)
    delete_study(store, study)
    print(f"Deleted '{study}'.")
