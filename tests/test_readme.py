"""The README's commands stand word for word in .ci/run, so that what users type is what is tested."""

import re
from pathlib import Path

from promptopt.registry import strategy_names

ROOT = Path(__file__).resolve().parent.parent


def commands() -> list[str]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.S)
    return [line for block in blocks for line in block.strip().splitlines()]


def test_the_first_command_stands_in_ci_word_for_word() -> None:
    assert commands()[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_second_command_stands_in_ci_around_the_static_checks() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    *install, test = commands()[1].split(" && ")
    assert lines.index(" && ".join(install)) < lines.index("mypy") < lines.index(test)


def test_the_readme_names_every_strategy_and_links_to_files_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in strategy_names():
        assert f"`{name}`" in readme, name
    for target in re.findall(r"\]\(((?!https?:)[^)]+)\)", readme):
        assert (ROOT / target).exists(), target
