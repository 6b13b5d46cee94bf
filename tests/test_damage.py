"""Damaged files: whatever the damage, what was written is read, or one line says why it cannot be."""

import hashlib
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments import run_folder
from experiments.training import single
from experiments.training.plan import RUN
from experiments.training.record import make_record
from experiments.training.runs import describe_run, train_runs
from mnistsum import checkpoint, weights
from mnistsum.config import CONFIG, Config
from mnistsum.errors import InputError
from mnistsum.files import write_whole
from mnistsum.types import Data, Split

FILES = (
    *(CONFIG, run_folder.RUN, run_folder.METRICS, run_folder.PREDICTIONS, run_folder.SUMMARY, weights.WEIGHTS),
    *("checkpoints/16.safetensors", "checkpoints/24.safetensors"),
)
DAMAGE = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(0, 7)),
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True)),
    st.tuples(st.just("add"), st.floats(0, 1), st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("hold"), st.one_of(st.binary(max_size=50), st.sampled_from([b"[" * 100_000, b"9" * 5000]))),
    st.tuples(st.just("become"), st.sampled_from(FILES)),
    st.tuples(st.sampled_from(["be a folder", "go"])),
)


@pytest.fixture(scope="module")
def finished(mnist, config, tmp_path_factory) -> tuple[Path, dict[str, Any], Any]:
    """A finished run, what is read back from it, and the content of its older checkpoint."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    data = Data(*(Split(*(part[:n] for part in split)) for split, n in zip(mnist, (256, 64, 64), strict=True)))
    run_folder.begin(folder, config, describe_run(config, make_record(config, data), "a test"))
    for _ in train_runs(config, {0: folder}, data, RUN):
        pass
    assert {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} == set(map(Path, FILES))
    older = tmp_path_factory.mktemp("older")
    shutil.copy(folder / FILES[-2], older)
    found, older_state = readings(folder, config), state_in(older, config)
    assert None not in (*found.values(), older_state)
    return folder, found, older_state


def harm(folder: Path, name: str, damage: tuple) -> None:
    """Damage a file in a folder."""
    file, (kind, *how) = folder / name, damage
    content = file.read_bytes()
    place = int(how[0] * len(content)) if kind in ("flip", "cut", "add") else 0
    if kind == "flip":
        changed = bytearray(content)
        changed[place] ^= 1 << how[1]
        file.write_bytes(changed)
    elif kind == "cut":
        file.write_bytes(content[:place])
    elif kind == "add":
        file.write_bytes(content[:place] + how[1] + content[place:])
    elif kind == "hold":
        file.write_bytes(how[0])
    elif kind == "become":
        file.write_bytes((folder / how[0]).read_bytes())
    else:
        file.unlink()
        if kind == "be a folder":
            file.mkdir()


def read(function: Callable[[], Any]) -> Any:
    """Return what a function reads; None if it says, in one line, that it cannot."""
    with warnings.catch_warnings(record=True):
        try:
            return function()
        except InputError as error:
            assert "\n" not in str(error)
            return None
        except jaxtyping.TypeCheckError:  # the tests' own type checker, before a config's
            return None


def content(value: Any) -> str:
    """Return the SHA-256 of all arrays."""
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(value))).hexdigest()


def readings(folder: Path, config: Config) -> dict[str, Any]:
    """Return all that is read back from a run, with None for what is refused."""
    run = read(lambda: run_folder.read(folder))
    loaded = read(lambda: checkpoint.load_run(folder))
    return {
        "run": run and (run.config, run.run, run.lines, run.summary, content(run.predictions)),
        "model": loaded and (loaded[0], content(loaded[1])),
        "state": state_in(folder / run_folder.CHECKPOINTS, config),
    }


def state_in(folder: Path, config: Config) -> Any:
    """Return the state in a folder of checkpoints; None if it is refused."""
    restored = read(lambda: checkpoint.restore(folder, config))
    return restored and (content(restored.state), restored.kept)


def damaged_runs(examples: int):
    """Return a test of `examples` damaged runs."""

    @settings(max_examples=examples, deadline=20_000, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(name=st.sampled_from(FILES), damage=DAMAGE)
    def test(finished, config, name, damage):
        whole, expected, older = finished
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            shutil.copytree(whole, run)
            harm(run, name, damage)
            found = readings(run, config)
            for part, value in found.items():
                # If the newer of two checkpoints is damaged, the older one is used.
                assert value in (None, expected[part], *([older] if part == "state" else [])), part
            if damage[0] == "flip" and "checkpoints" not in name:
                # A summary may also be read if the changed digit of a float changes nothing.
                assert found["run"] in (None, *([expected["run"]] if name == run_folder.SUMMARY else []))
            if found["state"] is not None and not (run / run_folder.METRICS).is_dir():  # as on resume
                lines = found["state"][1]["lines"]
                single.restore_metrics(run, lines)
                assert run_folder.read_lines(run) == lines

    return test


test_a_damaged_run_is_read_as_it_was_or_refused_in_a_line = damaged_runs(40)
test_more_damaged_runs = pytest.mark.slow(damaged_runs(1200))


def test_a_file_is_on_disk_before_it_gets_its_name_and_its_name_after(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def named(path: Path, target: Path) -> Path:
        calls.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", named)
    write_whole(tmp_path / "file", "content")
    assert calls == ["content", "name", "folder"]
