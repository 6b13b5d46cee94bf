"""Hooks of MkDocs: the Markdown files and pictures of experiments/results become pages of the site, under results/.

Pages link to them where they lie in the repository, so that the links hold there, too.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
LINK = re.compile(r"\]\(\.\./((?:\.\./)*)experiments/results/")  # from a page of docs/, or of a folder in it


def on_files(files: Files, config: Any) -> Files:
    """Add the files; MkDocs calls this once it has listed those of docs/."""
    for path in sorted((EXPERIMENTS / "results").rglob("*")):
        if path.suffix in (".md", ".png"):
            name = path.relative_to(EXPERIMENTS).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let a page's links lead to the site's copies."""
    return LINK.sub(r"](\1results/", markdown)
