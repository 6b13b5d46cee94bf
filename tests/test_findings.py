"""The findings: each figure of a section is in a file that it links."""

import re

import pytest
from programs import ROOT

SECTIONS = re.split(
    r"^## ", (ROOT / "docs" / "findings.md").read_text(), flags=re.MULTILINE
)[1:]
FIGURE = re.compile(r"-?\d+\.\d\d(?!\d)(?: ± \d+\.\d\d| \[.*?\])?")


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.partition("\n")[0])
def test_figures_are_in_the_linked_files(section):
    links = re.findall(r"\]\(\.\./(experiments/.*?\.md)", section)
    found = "".join((ROOT / link).read_text() for link in links).replace("+", "")
    assert not [figure for figure in FIGURE.findall(section) if figure not in found]
