"""A trained model as a graph that runs without mnistsum: StableHLO, and ONNX with the extra `onnx`.

Both take uint8 images [n, 28, 28, 1], 0-255, and int32 numbers [n], 0-9, for any n, and return the probabilities of the
digit [n, 10] and of the sum [n, 19].
"""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from mnistsum.config import Config
from mnistsum.errors import InputError
from mnistsum.models import Model, abstract_model, for_export
from mnistsum.predict import probabilities

OPSET = 21  # of ONNX


def to_stablehlo(config: Config, model: Model) -> bytes:
    """Return serialized StableHLO for every platform; `jax.export.deserialize(data).call(images, numbers)` runs it.

    Examples:
        >>> import jax, numpy as np
        >>> from mnistsum.config import Config, ModelConfig
        >>> from mnistsum.export import to_stablehlo
        >>> from mnistsum.models import build
        >>> config = Config(model=ModelConfig(classifier="mlp", widths=(8,)))
        >>> graph = to_stablehlo(config, build(config.model, jax.random.key(0)))
        >>> run = jax.export.deserialize(bytearray(graph)).call
        >>> digit, total = run(np.zeros((5, 28, 28, 1), np.uint8), np.arange(5, dtype=np.int32))
        >>> digit.shape, total.shape
        ((5, 10), (5, 19))
    """
    (n,) = export.symbolic_shape("n")
    images, numbers = jax.ShapeDtypeStruct((n, 28, 28, 1), jnp.uint8), jax.ShapeDtypeStruct((n,), jnp.int32)
    function = jax.jit(_function(config, for_export(model, "any")))
    exported = export.export(function, platforms=("cpu", "cuda", "rocm", "tpu"))(images, numbers)
    return bytes(exported.serialize())


def to_onnx(config: Config, model: Model) -> bytes:
    """Return a serialized ONNX model with inputs `image` and `number` and outputs `digit` and `sum`.

    It computes in float32 whatever the config says, because ONNX runtimes barely support bfloat16.
    """
    try:
        import jax2onnx  # needs the extra `onnx`
    except ModuleNotFoundError:
        raise InputError("--to onnx: needs jax2onnx; install this project with the extra `onnx`") from None
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    like = abstract_model(dataclasses.replace(config.model, dtype="float32"))
    model = for_export(jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(model)), "onnx")
    images, numbers = jax.ShapeDtypeStruct(("n", 28, 28, 1), jnp.uint8), jax.ShapeDtypeStruct(("n",), jnp.int32)
    function = _function(config, model)
    with jax.disable_jit():  # jax2onnx does not know the jitted functions of jax 0.11 and later, such as `nnx.relu`
        graph = jax2onnx.to_onnx(
            function,
            [images, numbers],
            opset=OPSET,
            model_name="mnistsum",
            input_names=["image", "number"],
            output_names=["digit", "sum"],
        )
    return graph.SerializeToString()


def _function(config: Config, model: Model) -> Callable:
    """Return the function to export."""

    def function(images: Any, numbers: Any) -> tuple[Any, ...]:
        return tuple(probabilities(config.data, model, images, numbers))

    return function
