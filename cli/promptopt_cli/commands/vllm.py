"""``promptopt vllm``: keep a vLLM server between runs, see it, and end it."""

from typing import Annotated

import typer

from promptopt_cli import options as o

app = typer.Typer(
    help="Keep a vLLM server between runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: promptopt vllm start Qwen/Qwen3-8B",
)


@app.command("start", epilog="Example: promptopt vllm start Qwen/Qwen3-8B --model-option max_model_len=4096")
def start(
    model: Annotated[str, typer.Argument(help="A folder, or a name on the hub.")], model_option: o.ModelOptions = None
) -> None:
    """Start a server that stays until it is stopped.

    Studies with --model vllm:MODEL and the same options use it.
    """
    from promptopt import catalogue
    from promptopt_cli.live import show_download

    server = catalogue.keep_vllm(model, o.read_pairs("--model-option", model_option or ()), show_download)
    print(f"vllm:{server['model']} is {server['state']}; end it with: promptopt vllm stop")


@app.command("status", epilog="Example: promptopt vllm status")
def status(as_json: o.AsJson = False) -> None:
    """List the servers that are kept."""
    from promptopt import catalogue
    from promptopt_cli import show

    servers = catalogue.kept_vllm()
    if as_json:
        show.as_json(servers)
    elif servers:
        show.table(servers, ("model", "state", "address", "log"))
    else:
        print("No vLLM server is kept; start one with: promptopt vllm start MODEL")


@app.command("stop", epilog="Example: promptopt vllm stop")
def stop(model: Annotated[str | None, typer.Argument(help="Whose server; all of them if left out.")] = None) -> None:
    """End the servers that are kept, with all their processes."""
    from promptopt import catalogue

    ended = catalogue.end_vllm(model)
    print("\n".join(f"vllm:{name} has ended." for name in ended) or "No vLLM server is kept.")
