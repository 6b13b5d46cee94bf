"""The cache of compiled programs: damage is found before XLA sees it, and the program is recompiled."""

import importlib
import platform
import sys

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs
import pytest
from jax._src import compilation_cache

from mnistsum.app import compiler
from mnistsum.app.compiler import Programs, set_up_compiler
from mnistsum.evaluation import compile_evaluation, evaluate
from mnistsum.models import abstract_model, build


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that caches all programs of this test, as the commands do theirs."""
    settings = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in settings}
    monkeypatch.setattr(compilation_cache, "get_file_cache", compilation_cache.get_file_cache)  # restored afterwards
    monkeypatch.setattr(platformdirs, "user_cache_path", tmp_path.joinpath)
    monkeypatch.setenv("XLA_FLAGS", "")
    compilation_cache.reset_cache()
    set_up_compiler()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    yield tmp_path / "mnistsum" / f"xla-{platform.node()}"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_program_is_compiled_anew_and_replaced(folder, damage, recwarn):
    def compute():
        jax.clear_caches()
        return np.asarray(jax.jit(lambda x: jnp.sin(x) @ x.T)(np.eye(3, dtype=np.float32)))

    expected = compute()
    (path,) = folder.glob("jit__lambda*")
    for at in (0, 40, -1):
        kept = bytearray(path.read_bytes())
        kept[at] ^= 1
        path.write_bytes({"flip": kept, "cut": kept[:at], "empty": b""}[damage])
        harmed = path.read_bytes()
        np.testing.assert_array_equal(compute(), expected)
        assert path.read_bytes() != harmed
        intact = path.stat().st_ino
        np.testing.assert_array_equal(compute(), expected)
        assert path.stat().st_ino == intact  # read, not compiled again
    assert not recwarn.list


def test_an_evaluation_compiled_ahead_is_the_one_that_runs(folder, config, train):
    compile_evaluation(config.data, abstract_model(config.model))
    (ahead,) = folder.glob("jit_evaluate_batches*")
    jax.clear_caches()
    model = jax.device_put(build(config.model, jax.random.key(0)), jax.local_devices()[0])  # as training leaves it
    evaluate(config.data, model, train)
    assert list(folder.glob("jit_evaluate_batches*")) == [ahead]  # no other one was compiled


def test_every_flipped_bit_and_every_cut_is_found(tmp_path):
    programs = Programs(tmp_path)
    assert programs.get("key") is None
    programs.put("key", b"program")
    assert programs.get("key") == b"program"
    content = (tmp_path / "key").read_bytes()
    flipped = [bytes(byte ^ (i == at) << bit for i, byte in enumerate(content)) for at in range(39) for bit in range(8)]
    for harmed in [*flipped, *(content[:length] for length in range(39))]:
        (tmp_path / "key").write_bytes(harmed)
        assert programs.get("key") is None
    programs.put("key", b"program")
    assert programs.get("key") == b"program"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("lacks", ["function", "module"])
def test_a_jax_whose_cache_cannot_be_replaced_keeps_nothing(monkeypatch, request, lacks):
    before = jax.config.jax_compilation_cache_dir

    def restore():
        monkeypatch.undo()
        importlib.reload(compiler)
        jax.config.update("jax_compilation_cache_dir", before)

    request.addfinalizer(restore)
    jax.config.update("jax_compilation_cache_dir", None)  # another test's program may have set it
    monkeypatch.delattr(compilation_cache, "get_file_cache")
    if lacks == "module":
        monkeypatch.delattr("jax._src.compilation_cache")
        monkeypatch.setitem(sys.modules, "jax._src.compilation_cache", None)
    importlib.reload(compiler)
    monkeypatch.setenv("XLA_FLAGS", "")
    set_up_compiler()
    assert jax.config.jax_compilation_cache_dir is None
