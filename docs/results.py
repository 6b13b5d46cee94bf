"""MkDocs hooks: the pages of experiments/ and the model card become pages of the site.

The README's table of results is shown where a page says `<!-- results -->`.

Pages link to these files by their paths in the repository, so that the links also work
there.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "experiments" / name for name in ("results", "studies")]
# out of docs/, from a page or a folder in it
LINK = re.compile(r"\]\(((?:\.\./)*)\.\./(?:experiments|mnistsum)/")
# a space within an interval, a deviation or a pair
FIGURE = re.compile(r"(?<=[\d.,±/=]) (?=[-+\d])|(?<=n) (?==)")


def on_files(files: Files, config: Any) -> Files:
    """Add the files; MkDocs calls this once it has listed those of docs/."""
    pages = [ROOT / "mnistsum" / "pretrained" / "README.md"]
    for folder in PAGES:
        pages += [*folder.rglob("*.md"), *folder.rglob("*.png")]
    for path in sorted(pages):
        _, _, name = path.relative_to(ROOT).as_posix().partition("/")
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point links to the site's copies, and insert the table of results."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    table = "\n".join(line for line in readme if line.startswith("|"))
    table = table.replace("](docs/", "](")
    markdown = markdown.replace("<!-- results -->", table)
    lines = LINK.sub(r"](\1", markdown).split("\n")
    return "\n".join(
        FIGURE.sub("\u00a0", line) if line.startswith("|") else line for line in lines
    )
