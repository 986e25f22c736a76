"""``promptopt strategies``, ``tasks``, ``models`` and ``doctor``: what there is, and whether it works here."""

from typing import Annotated

import typer

from promptopt_cli import options as o

STRATEGIES_EXAMPLE = "Example: promptopt strategies irace"
TASKS_EXAMPLE = "Example: promptopt tasks"
DOCTOR_EXAMPLE = "Example: promptopt doctor --model http://localhost:8000/v1"

models = typer.Typer(
    help="Show and fetch models.", no_args_is_help=True, rich_markup_mode=None, epilog="Example: promptopt models list"
)


def strategies(
    name: Annotated[str | None, typer.Argument(help="Show this one's profiles and settings.")] = None,
    as_json: o.AsJson = False,
) -> None:
    """List the strategies, or one with its profiles and settings."""
    from promptopt import catalogue
    from promptopt_cli import show, show_strategies

    data = catalogue.describe_strategies(name)
    if as_json:
        show.as_json(data)
    else:
        show_strategies.strategies(data)


def tasks(as_json: o.AsJson = False) -> None:
    """List the tasks that come with promptopt."""
    from promptopt import catalogue
    from promptopt_cli import show

    data = catalogue.describe_tasks()
    if as_json:
        show.as_json(data)
    else:
        show.table(data, ("name", "metric", "train", "dev", "test", "description"))


@models.command("list", epilog="Example: promptopt models list")
def list_models(as_json: o.AsJson = False) -> None:
    """Say which models there are, and whether the embedded one is here."""
    from promptopt import catalogue
    from promptopt_cli import show

    data = catalogue.describe_models()
    if as_json:
        show.as_json(data)
    else:
        show.table(data, ("address", "what", "state"))


@models.command("pull", epilog="Example: promptopt models pull")
def pull() -> None:
    """Fetch the embedded model (93 MB, once) into the cache directory."""
    from promptopt.catalogue import embedded_file
    from promptopt_cli.live import show_download

    print(f"The embedded model is at {embedded_file('', show_download)}")


def doctor(
    model: Annotated[str, typer.Option("--model", help="Also say one word to this model.")] = "embedded:",
    as_json: o.AsJson = False,
) -> None:
    """Check this machine: versions, extras, store and model."""
    from promptopt import catalogue
    from promptopt_cli import show

    checks = catalogue.examine(model)
    if as_json:
        show.as_json(checks)
    else:
        show.table(checks, ("check", "state", "what"))
    if any(check["state"] == "wrong" for check in checks):
        raise typer.Exit(1)
