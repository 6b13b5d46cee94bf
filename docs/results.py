"""A hook of MkDocs: the Markdown files and pictures of experiments/results become pages of the site, under results/."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

EXPERIMENTS = Path(__file__).parent.parent / "experiments"


def on_files(files: Files, config: Any) -> Files:
    """Add the files; MkDocs calls this once it has listed those of docs/."""
    for path in sorted((EXPERIMENTS / "results").rglob("*")):
        if path.suffix in (".md", ".png"):
            name = path.relative_to(EXPERIMENTS).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files
