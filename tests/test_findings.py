"""Each figure of the findings and of the README is in a page that its section links."""

import re

import pytest
from programs import ROOT

FIGURE = re.compile(
    r"(?<!Python )(?<!better )(?<!jaxlib for )"  # versions of Python
    r"-?\b\d+\.\d\d(?!\d)(?: ± \d+\.\d\d| \[.*?\])?"
)


@pytest.mark.parametrize(
    ("page", "source"),
    [("README.md", "(?:docs|experiments)/"), ("docs/findings.md", "../experiments/")],
)
def test_figures_are_in_the_linked_files(page, source):
    path = ROOT / page
    missing = []
    for section in re.split(r"^## ", path.read_text(), flags=re.MULTILINE):
        links = re.findall(rf"\]\(({source}[^)#]+\.md)", section)
        found = "".join((path.parent / link).read_text() for link in links)
        found = found.replace("+", "")
        missing += [each for each in FIGURE.findall(section) if each not in found]
    assert not missing
