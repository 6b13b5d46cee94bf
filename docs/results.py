"""MkDocs hooks: the files of experiments/results and the model card become pages of the site.

The README's table of results is shown where a page says `<!-- results -->`.

Pages link to these files by their paths in the repository, so that the links also work there.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
CARD = "mnistsum/pretrained/README.md"
LINKS = (  # from a page of docs/, or of a folder in it, to a page of the site
    (re.compile(r"\]\(\.\./((?:\.\./)*)experiments/results/"), r"](\1results/"),
    (re.compile(r"\]\(\.\./((?:\.\./)*)" + CARD), r"](\1model_card.md"),
)
FIGURE = re.compile(r"(?<=[\d.,±/=]) (?=[-+\d])|(?<=n) (?==)")  # a space within an interval, a deviation or a pair


def on_files(files: Files, config: Any) -> Files:
    """Add the files; MkDocs calls this once it has listed those of docs/."""
    for path in sorted((EXPERIMENTS / "results").rglob("*")):
        if path.suffix in (".md", ".png"):
            name = path.relative_to(EXPERIMENTS).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    files.append(File.generated(config, "model_card.md", abs_src_path=str(ROOT / CARD)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point a page's links to the site's copies, insert the table of results, and keep figures in one piece."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = [line for line in readme.splitlines() if line.startswith("|")]
    markdown = markdown.replace("<!-- results -->", "\n".join(table))
    if page.file.src_uri == "model_card.md":
        markdown = markdown.replace("](../../experiments/results/", "](results/")
    for link, target in LINKS:
        markdown = link.sub(target, markdown)
    lines = (FIGURE.sub("\u00a0", line) if line.startswith("|") else line for line in markdown.split("\n"))
    return "\n".join(lines)
