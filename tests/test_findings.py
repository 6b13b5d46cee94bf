"""The findings: each figure of a section is in a file that it links."""

import re

import pytest
from programs import ROOT

# but not a version of Python
FIGURE = re.compile(r"(?!3\.1\d)-?\d+\.\d\d(?!\d)(?: ± \d+\.\d\d| \[.*?\])?")
PAGES = ["README.md", "docs/findings.md"]


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_in_the_linked_files(page):
    path = ROOT / page
    for section in re.split(r"^## ", path.read_text(), flags=re.MULTILINE):
        links = re.findall(r"\]\(([^:)#]+\.md)", section)
        found = "".join((path.parent / link).read_text() for link in links)
        found = found.replace("+", "")
        assert not [each for each in FIGURE.findall(section) if each not in found]
