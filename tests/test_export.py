"""Exports: graphs that give the same probabilities, and weights."""

import chex
import jax
import numpy as np
import pytest
from jax import export as jax_export

from experiments.studies.speed import networks
from mnistsum import export
from mnistsum.app.main import command
from mnistsum.config import Config, DataConfig, ModelConfig
from mnistsum.data import load
from mnistsum.errors import InputError
from mnistsum.models import build
from mnistsum.models.classifiers import CLASSIFIERS
from mnistsum.predict import Predictor, load_pretrained
from mnistsum.registry import added_names
from mnistsum.storage import PRETRAINED, WEIGHTS, load_weights, save_weights

CONFIG = Config(
    data=DataConfig(test_shift=1),
    model=ModelConfig(widths=(4, 4, 8), hidden=16, dtype="bfloat16"),
)
IMAGES, NUMBERS = (
    load(DataConfig()).test.images[:1000],
    np.arange(1000, dtype=np.int32) % 10,
)


def untrained(config: Config) -> Predictor:
    model = jax.jit(build, static_argnums=0)(config.model, jax.random.key(1))
    return Predictor(config, model, "a test", {})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net").mkdir()
    save_weights(tmp_path / "net" / WEIGHTS, untrained(CONFIG))
    return tmp_path / "net"


def assert_answers(
    network: Predictor, graph: bytes, rtol: float
) -> jax_export.Exported:
    """Return a graph that gives a network's probabilities for any batch."""
    exported = jax_export.deserialize(bytearray(graph))
    for n in (1, 20):
        pairs = IMAGES[:n], NUMBERS[:n]
        for a, b in zip(exported.call(*pairs), network.predict(*pairs), strict=True):
            np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5)
    return exported


def test_the_graph_of_stablehlo_answers_the_same_for_any_batch(folder):
    assert command(["export", str(folder), "--to", "stablehlo"]) == 0
    graph = (folder / "export" / "model.stablehlo").read_bytes()
    # bfloat16, in another order
    exported = assert_answers(load_pretrained(folder), graph, 1e-2)
    assert set(exported.platforms) == {"cpu", "cuda", "rocm", "tpu"}
    assert "stablehlo.convolution" in exported.mlir_module()  # for accelerators


@pytest.fixture
def plain_networks():
    with added_names(CLASSIFIERS=networks.CLASSIFIERS):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CLASSIFIERS, "plain_resnet"])
def test_every_classifier_becomes_a_graph_for_any_batch(plain_networks, name):
    network = untrained(Config(model=ModelConfig(classifier=name, adder="bilinear")))
    exported = assert_answers(
        network, export.to_stablehlo(network.config, network.model), 1e-2
    )
    # for accelerators
    assert ("stablehlo.convolution" in exported.mlir_module()) == (
        name not in ("mlp", "vit")
    )


def test_exported_weights_are_complete_and_replace_older_ones(tmp_path):
    (tmp_path / WEIGHTS).write_bytes(b"older")
    assert (
        command(["export", "base", "--to", "safetensors", "--output", str(tmp_path)])
        == 0
    )
    exported, ships = load_weights(tmp_path), load_weights(PRETRAINED / "base")
    chex.assert_trees_all_equal(exported.model, ships.model)
    assert exported._replace(model=None) == ships._replace(model=None)


@pytest.mark.parametrize(
    "arguments, answer",
    [
        (["base", "--to", "safetensors"], "^--output: expected a folder to write to"),
        (
            ["net", "--to", "safetensors", "--output", "net"],
            "^--output net: a run's folder, whose own files",
        ),
    ],
)
def test_an_export_that_cannot_be_meant_writes_nothing(
    folder, monkeypatch, arguments, answer
):
    monkeypatch.chdir(folder.parent)
    (folder / "run.json").write_text("{}")
    names = sorted(folder.parent.rglob("*"))
    with pytest.raises(InputError, match=answer):
        command(["export", *arguments])
    assert sorted(folder.parent.rglob("*")) == names
