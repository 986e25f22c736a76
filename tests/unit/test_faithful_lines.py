"""Every line of what "faithful" means for APO, OPRO, SPRIG and Plum has a test named after it."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The sections of the specification, and how many lines each has.
LINES = {"1i": 12, "2i": 11, "3h": 11, "4i": 11}
NAMED = re.compile(r"def test_(?:\w+?_)?(\d[hi])_(\d\d)(?:_and_(\d\d))?_")


@pytest.mark.parametrize("section", LINES)
def test_each_line_has_a_test_that_bears_its_number(section: str) -> None:
    found = {
        int(number)
        for file in HERE.glob("test_*.py")
        for named, *numbers in NAMED.findall(file.read_text(encoding="utf-8"))
        for number in numbers
        if named == section and number
    }
    assert set(range(1, LINES[section] + 1)) <= found
