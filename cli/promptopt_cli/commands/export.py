"""``promptopt export``: the prompt a study says to use, in a form that other programs take."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptopt.config import DEFAULT_STORE
from promptopt.errors import UnknownNameError
from promptopt_cli import options as o
from promptopt_cli.text import exact

if TYPE_CHECKING:
    from promptopt.prompt import Prompt

EXAMPLE = (
    "Examples: promptopt export sentiment-irace-3f2a --form openai > prompt.json | "
    "promptopt export sentiment-irace-3f2a --form csv > candidates.csv"
)
FORMS = ("text", "json", "openai", "csv")

Form = Annotated[
    str,
    typer.Option(
        "--form", help="text, json (all parts), openai (a request body), or csv (score against tokens of all)."
    ),
]


def export(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    form: Form = "text",
    store: o.StorePath = DEFAULT_STORE,
) -> None:
    """Print the prompt that a study says to use. Inputs stand as {field}."""
    from promptopt.report import best_prompt
    from promptopt_cli.show import as_json

    if form not in FORMS:
        raise UnknownNameError("export form", form, FORMS)
    if form == "csv":
        from promptopt.front import study_front
        from promptopt_cli.front import write_csv

        write_csv(study_front(store, study), sys.stdout)
        return
    prompt, summary = best_prompt(store, study)
    messages = summary["best"]["messages"]
    if summary["state"] == "paused":
        print(f"promptopt: not proved: the study '{study}' is paused; this is its best prompt so far.", file=sys.stderr)
    if form == "text":
        print(exact("\n\n".join(_text(message) for message in messages)))
    elif form == "json":
        as_json({"id": prompt.id, "parts": prompt.to_json()})
    else:
        completes = summary["best"]["mode"] == "completion"
        body = {"prompt": messages[0]["content"]} if completes else {"messages": messages}
        as_json({**body, **_how(prompt, summary)})


def _how(prompt: "Prompt", summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return decoding and stop strings; a suite's system text goes with whatever its tasks have."""
    if "layout" not in prompt.parts:
        return {}
    return {**({"stop": list(prompt.layout.stop)} if prompt.layout.stop else {}), **summary["decoding"]}


def _text(message: dict[str, str]) -> str:
    return message["content"] if message["role"] == "text" else f"[{message['role']}]\n{message['content']}"
