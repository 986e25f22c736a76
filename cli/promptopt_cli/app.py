"""The command line: names the commands and turns every error into one sentence and an exit code.

Commands import what they need when they run, so that ``promptopt --help`` answers at once.
"""

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from promptopt import __version__
from promptopt.errors import PromptOptError
from promptopt_cli.commands import evaluate, export, info, label, optimize, studies, vllm
from promptopt_cli.text import clean, open_streams


class Commands(TyperGroup):
    """The commands; Ctrl-C in any of them is answered in one sentence, and a closed pipe is no failure."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # who reads has seen enough, as head has; what is buffered would fail at the end again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            print("promptopt: stopped; the same command goes on where it stood.", file=sys.stderr)
            raise typer.Exit(130) from None
        return result


app = typer.Typer(
    name="promptopt",
    cls=Commands,
    help="Find a better prompt, prove that it is better, and keep every step.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Example: promptopt optimize sentiment",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"promptopt {__version__}")
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None: ...


app.command("optimize", epilog=optimize.EXAMPLE)(optimize.optimize)
app.command("resume", epilog=optimize.RESUME_EXAMPLE)(optimize.resume)
app.command("label", epilog=label.EXAMPLE)(label.label)
app.command("evaluate", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.add_typer(studies.app, name="studies")
app.command("export", epilog=export.EXAMPLE)(export.export)
app.command("strategies", epilog=info.STRATEGIES_EXAMPLE)(info.strategies)
app.command("tasks", epilog=info.TASKS_EXAMPLE)(info.tasks)
app.add_typer(info.models, name="models")
app.add_typer(vllm.app, name="vllm")
app.command("doctor", epilog=info.DOCTOR_EXAMPLE)(info.doctor)


def main() -> NoReturn:
    """Run the command line; exit 0 done, 1 failed, 2 bad input, 3 waiting, 130 stopped by Ctrl-C."""
    # Matrices are small here, and the threads of numpy's algebra wait by spinning: ruinous on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    open_streams()
    try:
        app()
    except PromptOptError as error:
        said = " ".join([str(error), *getattr(error, "__notes__", ())])
        print(f"promptopt: {clean(said)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001  # the one edge: nobody should see a traceback by surprise
        print(f"promptopt: {clean(_unexpected(error))}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def _unexpected(error: Exception) -> str:
    import tempfile
    import traceback

    said = f"this is a fault of ours ({type(error).__name__}: {error}); nothing stored is lost"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="promptopt-", suffix=".log", delete=False) as log:
            traceback.print_exception(error, file=log)
    except OSError:
        return f"{said}. Please report it; the details could not be written anywhere."
    return f"{said}, and the details are in {log.name}. Please report it with that file."
