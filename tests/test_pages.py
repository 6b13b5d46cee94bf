"""The console blocks of the prose: programs accept each command, quick ones work."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from programs import ROOT, blocks

from experiments import cli
from experiments.configs.base import config as base
from mnistsum.app.main import parse
from mnistsum.config import DataConfig, override, split_overrides
from mnistsum.datasets import read_arrays

# In the order in which a reader meets them, as later pages use what earlier ones have
# made.
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("index", "tutorial")),
]
PAGES += sorted(
    {*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")} - {*PAGES}
)
OURS = re.compile(r"(\w+=\S+\s+)*(mnistsum|python -m experiments\.)")
# Commands that take seconds. All others are only parsed.
QUICK = re.compile(
    r"mnistsum (?!draw|.*tfds:)|python \w+\.py|"
    r"python -m experiments\.(compare .*--tabulate|run .*(smoke|epochs=0.2))"
)
# For a shell in which the programs print their arguments.
PRINTED = """
exec 3>&1
python() { for word in "$@"; do printf '%s\\t' "$word" >&3; done; echo >&3; }
mnistsum() { python -m mnistsum "$@"; }
"""


def commands(page, pattern):
    """Return the commands of a page that begin so, each of one or more lines."""
    text = "\n".join(blocks(page, "console"))
    every = re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    return [command for command in every if pattern.match(command)]


def files(page):
    """Return the files that a page tells its reader to write, by name."""
    text = page.read_text()
    return dict(
        re.findall(
            r"`(\w+\.py)`[^`]*:\n\n```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE
        )
    )


def snippets(page):
    """Return the Python of a page that uses what its commands have made."""
    python = map(textwrap.dedent, blocks(page, "python"))
    return [block for block in python if "runs/" in block]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page, OURS)], ids=lambda page: page.stem
)
def test_the_programs_accept_every_command_of_a_page(page, tmp_path):
    script = PRINTED + "\n".join(commands(page, OURS))
    printed = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert printed
    for line in printed.splitlines():
        _, module, *words = line.rstrip("\t").split("\t")
        if module == "mnistsum":
            parse(words)
            continue
        overrides, words = split_overrides(words)
        if "studies" in module:
            module = f"{module}.__main__"
        options = importlib.import_module(module).parser().parse_args(words)
        if getattr(options, "tabulate", None):
            continue  # its arguments are folders
        names = (
            options.configs
            if "configs" in options
            else [getattr(options, "name", None) or "base"]
        )
        for name in names:
            config = base if cli.own_file(name) else cli.load_config(name)
            override(config, overrides)


@pytest.mark.slow
def test_every_command_that_takes_seconds_works(tmp_path):
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    for picture in ("scans/a.png", "more/old/b.jpg"):  # of the reader's own
        (tmp_path / picture).parent.mkdir(parents=True)
        shutil.copy(ROOT / "docs" / "seven.png", tmp_path / picture)
    np.savez(tmp_path / "mine.npz", **read_arrays(DataConfig())._asdict())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    for page in PAGES:
        for name, text in files(page).items():
            (tmp_path / name).write_text(text)
        in_python = [f"python -c {shlex.quote(snippet)}" for snippet in snippets(page)]
        for command in (*commands(page, QUICK), *in_python):
            run = subprocess.run(
                ["bash", "-c", command],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert run.returncode == 0, f"{page.name}: {command}\n{run.stderr}"
            assert "error" not in run.stderr
    assert len(json.loads((tmp_path / "answers.json").read_text())) == 2
