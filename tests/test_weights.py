"""Exported networks: loaded back bit for bit, with the same answers as graphs, and refused if they are not exports."""

import ast
import dataclasses
import itertools
import warnings

import chex
import jax
import numpy as np
import pytest
from jax import export as jax_export
from safetensors.flax import load_file, save_file

from mnistsum import export, registry, weights
from mnistsum.app.main import command
from mnistsum.calibration import Temperatures
from mnistsum.config import Config, DataConfig, ModelConfig, to_json
from mnistsum.errors import InputError
from mnistsum.files import load_arrays, save_arrays
from mnistsum.models import build
from mnistsum.predict import PRETRAINED, Predictor, load_pretrained
from mnistsum.registry import ADDERS, CLASSIFIERS

CONFIG = Config(data=DataConfig(test_shift=1), model=ModelConfig(widths=(4, 4, 8), hidden=16, dtype="bfloat16"))
NUMBERS = np.arange(20, dtype=np.int32) % 10


@pytest.fixture(scope="module")
def network() -> Predictor:
    return Predictor(CONFIG, jax.jit(build, static_argnums=0)(CONFIG.model, jax.random.key(1)), Temperatures(0.5, 2.0))


@pytest.fixture
def folder(network, tmp_path):
    (tmp_path / "net").mkdir()
    weights.save(tmp_path / "net" / weights.WEIGHTS, *network[:2], "a test", network.temperatures)
    return tmp_path / "net"


def test_weights_come_back_bit_for_bit(network, folder):
    for path in (folder, folder / weights.WEIGHTS):
        config, model, temperatures = weights.load(path)
        assert temperatures == network.temperatures
        assert config == CONFIG
        assert jax.tree.structure(model) == jax.tree.structure(network.model)
        for a, b in zip(*map(jax.tree.leaves, (model, network.model)), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_rounded_weights_are_smaller_and_answer_with_the_same_bits(network, folder, mnist):
    smaller = folder / "rounded.safetensors"
    weights.save(smaller, *network[:2], "a test", network.temperatures, rounded=True)
    assert smaller.stat().st_size < 0.7 * (folder / weights.WEIGHTS).stat().st_size
    rounded = load_pretrained(smaller)
    exact = network.predict(mnist.test.images[:20], NUMBERS)
    for a, b in zip(exact, rounded.predict(mnist.test.images[:20], NUMBERS), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_network_of_ones_own_whose_code_has_changed_is_warned_of(monkeypatch, tmp_path):
    source = tmp_path / "mine.py"
    source.write_text("scale = 1  # of the features")
    monkeypatch.setattr(CLASSIFIERS, "_added", {"mine": CLASSIFIERS["mlp"]})
    monkeypatch.setattr(CLASSIFIERS, "_sources", {"mine": str(source)})
    config = Config(model=ModelConfig(classifier="mine", widths=(8,)))
    file = tmp_path / weights.WEIGHTS
    weights.save(file, config, build(config.model, jax.random.key(0)), "a test")
    source.write_text('"""The same code."""\nscale = 1')
    with warnings.catch_warnings(action="error"):
        assert weights.load(file).config == config
    source.write_text("scale = 2")
    with pytest.warns(UserWarning, match=f"{file}: the code of its network has changed since it was trained"):
        weights.load(file)


def test_weights_name_the_code_that_was_loaded_even_if_its_file_has_changed_since(tmp_path, monkeypatch):
    for names in registry.OWN.values():
        monkeypatch.setattr(names, "_added", {})
    text = "from mnistsum.models.classifiers.mlp import MLP\nCLASSIFIERS = {'digested': MLP}"
    file, saved = tmp_path / "mine.py", tmp_path / weights.WEIGHTS
    file.write_text(text)
    registry.load_file(file)
    config = Config(model=ModelConfig(classifier="digested", widths=(8,)))
    model = build(config.model, jax.random.key(0))
    for change in (lambda: None, lambda: file.write_text("half a li("), file.unlink):
        change()
        weights.save(saved, config, model, "a test")
        assert load_arrays(saved)[1]["code"] == registry.digest_code(ast.parse(text))


def test_an_export_over_another_is_the_new_one_whatever_the_old_one_left(network, folder, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text(to_json(Config()))
    (tmp_path / "out" / weights.WEIGHTS).write_bytes(b"older")
    for to in ("safetensors", "stablehlo"):
        assert command(["export", str(folder), "--to", to, "--output", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {weights.WEIGHTS, "model.stablehlo"}
    config, model, temperatures = weights.load(tmp_path / "out")
    assert (config, temperatures) == (CONFIG, network.temperatures)
    chex.assert_trees_all_equal(model, weights.load(folder).model)


def test_an_export_of_a_network_that_ships_says_where_it_comes_from(network, folder, tmp_path, monkeypatch):
    folder.rename(tmp_path / "base")  # the same name, but another network
    monkeypatch.chdir(tmp_path)
    assert command(["export", "base", "--to", "safetensors", "--output", "out"]) == 0
    written, ships = (load_arrays(path / weights.WEIGHTS)[1] for path in (tmp_path / "out", PRETRAINED / "base"))
    assert written["made_by"] == ships["made_by"]
    with pytest.raises(InputError, match="--output: expected a folder to write to"):
        command(["export", "base", "--to", "safetensors"])


def test_an_export_keeps_a_config_that_does_not_belong_to_an_export(folder, tmp_path):
    config = tmp_path / "config.json"
    config.write_text("of something else")
    with pytest.raises(InputError, match=r"holds a config.json that does not belong to an export; name another"):
        command(["export", str(folder), "--to", "safetensors", "--output", str(tmp_path)])
    assert config.read_text() == "of something else"
    assert not (tmp_path / weights.WEIGHTS).exists()
    with pytest.raises(InputError, match=r"--rounded: expected with --to safetensors, found --to stablehlo"):
        command(["export", str(folder), "--to", "stablehlo", "--rounded"])


def test_an_export_into_a_runs_own_folder_is_refused(folder):
    (folder / "run.json").write_text("{}")
    before = (folder / weights.WEIGHTS).read_bytes()
    with pytest.raises(
        InputError, match=r"--output .*net: a run's folder, whose own files would be lost; name another"
    ):
        command(["export", str(folder), "--to", "safetensors", "--rounded", "--output", str(folder)])
    assert (folder / weights.WEIGHTS).read_bytes() == before


def rewrite(folder, change=lambda arrays: arrays, **metadata):
    file = folder / weights.WEIGHTS
    arrays, old_metadata = load_arrays(file)
    save_arrays(file, change(arrays), old_metadata | metadata)


def other_format(folder):
    file = folder / weights.WEIGHTS
    save_file(load_file(file), file, {"format": "1", "sha256": ""})


def flip_a_bit(folder):
    file = folder / weights.WEIGHTS
    harmed = bytearray(file.read_bytes())
    harmed[-50] ^= 1
    file.write_bytes(harmed)


def without(arrays, name="adder.hidden.bias"):
    return {key: array for key, array in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("harm", "answer"),
    [
        (other_format, "expected format 2 of mnistsum, found 1; use the version that wrote it"),
        (lambda f: rewrite(f, without), r"expected adder.hidden.bias to be float32\[16\], found absent"),
        (
            lambda f: rewrite(f, lambda a: a | {"more": a["adder.hidden.bias"]}),
            r"expected more to be absent, found float32\[16\]",
        ),
        (
            lambda f: rewrite(f, lambda a: {k: v[..., :2] for k, v in a.items()}),
            "of another architecture: expected adder",
        ),
        (flip_a_bit, "altered: not the bytes that were saved"),
        (lambda f: rewrite(f, temperatures='{"digit": 0, "sum": 1}'), "temperatures: digit: expected a number above 0"),
        (
            lambda f: rewrite(f, temperatures='{"digit": NaN, "sum": 1}'),
            "digit: expected a number above 0, found 'nan'",
        ),
        (
            lambda f: rewrite(f, temperatures=f'{{"digit": 1{"0" * 400}, "sum": 1}}'),
            "temperatures: digit: expected a number above 0",
        ),
        (lambda f: rewrite(f, temperatures='{"digit": 1}'), "temperatures: expected the fields digit, sum"),
        (lambda f: rewrite(f, temperatures="[" * 100_000), "temperatures: not JSON"),
        (lambda f: (f / weights.WEIGHTS).write_bytes(b"no weights"), "cannot be read as safetensors"),
        (
            lambda f: (f / weights.WEIGHTS).unlink(),
            "expected the folder of a run, found neither weights.safetensors nor",
        ),
        (
            lambda f: (f / "config.json").write_text(to_json(Config())),
            "not the config that the weights beside it were",
        ),
        (lambda f: (f / "config.json").write_text("{}"), "config.json: a config of this version: expected the fields"),
    ],
    ids=[
        "format",
        "missing",
        "unknown",
        "shape",
        "flipped bit",
        "a temperature of 0",
        "a temperature that is no number",
        "a temperature that no float holds",
        "one temperature",
        "nested temperatures",
        "no safetensors",
        "no weights",
        "another's config",
        "no config",
    ],
)
def test_what_is_not_this_networks_weights_is_refused_in_one_line(folder, harm, answer):
    harm(folder)
    with pytest.raises(InputError, match=answer) as refusal:
        load_pretrained(folder)
    assert "\n" not in str(refusal.value)


def test_the_graph_of_stablehlo_answers_the_same_for_any_batch(network, folder, mnist):
    assert command(["export", str(folder), "--to", "stablehlo"]) == 0
    graph = jax_export.deserialize(bytearray((folder / "export" / "model.stablehlo").read_bytes()))
    assert set(graph.platforms) == {"cpu", "cuda", "rocm", "tpu"}
    assert graph.fun_name.startswith("probabilities: calibrated, ") and "means over 9 shifts" in graph.fun_name
    for n in (1, 20):
        answers = graph.call(mnist.test.images[:n], NUMBERS[:n])
        for a, b in zip(answers, network.predict(mnist.test.images[:n], NUMBERS[:n]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-5)  # bfloat16, in another order


def test_the_graph_of_stablehlo_looks_again_at_images_in_doubt(mnist):
    images, numbers = mnist.test.images[:20], NUMBERS[:20]
    small = ModelConfig(classifier="mlp", widths=(8,), adder="shift")
    model = build(small, jax.random.key(1))

    def answer(**data):
        predictor = Predictor(Config(data=DataConfig(**data), model=small), model)
        return predictor, np.asarray(predictor.predict(images, numbers).digit)

    _, once = answer()
    doubt = float(np.median(once.max(-1)))
    _, always = answer(test_shift=1)
    some, _ = answer(test_shift=1, test_doubt=doubt)
    graph = jax_export.deserialize(bytearray(export.to_stablehlo(*some)))
    expected = np.where((once.max(-1) < doubt)[:, None], always, once)
    for n in (1, 20):
        np.testing.assert_allclose(graph.call(images[:n], numbers[:n])[0], expected[:n], rtol=1e-2, atol=1e-5)
    assert not np.allclose(expected, once, rtol=1e-2)
    assert not np.allclose(expected, always, rtol=1e-2)


@pytest.mark.parametrize(
    "name", [name if name == "mlp" else pytest.param(name, marks=pytest.mark.slow) for name in CLASSIFIERS]
)
def test_every_classifier_becomes_a_graph_for_any_batch(name, mnist):
    config = Config(model=ModelConfig(classifier=name, adder="bilinear"))
    model = build(config.model, jax.random.key(0))
    graph = jax_export.deserialize(bytearray(export.to_stablehlo(config, model)))
    digit, total = graph.call(mnist.test.images[:3], NUMBERS[:3])
    assert (digit.shape, total.shape) == ((3, 10), (3, 19))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "adder"),
    dict.fromkeys(
        [("base", "concat"), *zip(CLASSIFIERS, itertools.cycle(ADDERS)), *itertools.product(["mlp"], ADDERS)]
    ),
)
def test_the_graph_of_onnx_answers_the_same_in_onnxruntime(mnist, name, adder):
    pytest.importorskip("jax2onnx", reason="the extra `onnx` is not installed")
    import onnxruntime

    if name == "base":
        config, model, temperatures = load_pretrained("base")
    else:
        temperatures = None
        moved = {"tiny": DataConfig(test_shift=1), "mlp": DataConfig(test_shift=1, test_doubt=0.3)}
        config = Config(data=moved.get(name, DataConfig()), model=ModelConfig(classifier=name, adder=adder))
        model = build(config.model, jax.random.key(0))
    session = onnxruntime.InferenceSession(export.to_onnx(config, model, temperatures))
    properties = session.get_modelmeta().custom_metadata_map
    assert properties["probabilities"] == ("calibrated" if temperatures else "uncalibrated")
    images, numbers = mnist.test.images[:1000], np.arange(1000, dtype=np.int32) % 10
    answers = session.run(["digit", "sum"], {"image": images, "number": numbers})
    exact = dataclasses.replace(config, model=dataclasses.replace(config.model, dtype="float32"))
    like = jax.tree.structure(build(exact.model, jax.random.key(0)))
    expected = Predictor(exact, jax.tree.unflatten(like, jax.tree.leaves(model)), temperatures).predict(images, numbers)
    for a, b in zip(answers, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert (a.argmax(-1) == b.argmax(-1)).all()
    if name == "base":  # nor does bfloat16 change an answer
        for a, b in zip(answers, load_pretrained("base").predict(images, numbers), strict=True):
            assert (a.argmax(-1) == b.argmax(-1)).all()


def test_without_its_extra_onnx_is_refused_by_name(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jax2onnx", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"--to onnx: .*; install this project with the extra `onnx`"):
        command(["export", str(folder), "--to", "onnx"])
    assert not (folder / "export").exists()
