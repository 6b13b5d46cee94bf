"""Model summaries: layers with shapes, parameters and multiply-adds, without computing anything."""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models import abstract_model, build, parameters, rebuilt

TRACED = 7919  # batch size, traced but never computed: no other axis has this size, so it is found in any layout


class Row(NamedTuple):
    """One layer, input or output; shapes are of one example."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of its output, or of the last of several
    parameters: int
    multiply_adds: int  # for one image


def summarize(config: ModelConfig) -> list[Row]:
    """Return the model's inputs, layers and outputs, in the order of the computation.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models.summary import summarize
        >>> for row in summarize(ModelConfig(classifier="mlp", widths=(32,))):
        ...     print(row.name, row.kind, row.shape, row.parameters)
        image input (28, 28, 1) 0
        classifier.hidden.0 Dense (32,) 25120
        classifier.output Dense (10,) 330
        digit logits (10,) 0
        number input (10,) 0
        adder.join Join (20,) 0
        adder.hidden Dense (128,) 2688
        adder.output Dense (19,) 2451
        sum logits (19,) 0
    """
    rows = [Row("image", "input", (28, 28, 1), 0, 0)]

    def watch(path: str, layer: nnx.Module) -> None:
        """Make each call of a layer add a row; the layer keeps its attributes, which the network may read."""
        kind, size = type(layer), _count(layer)

        def call(self, *inputs, **named):
            output = kind.__call__(self, *inputs, **named)

            def again():
                layer, args, keywords = rebuilt((self, inputs, named))
                return kind.__call__(layer, *args, **keywords)

            work = multiply_adds(jax.make_jaxpr(again)().jaxpr) // TRACED
            *_, last = [None, *jax.tree.leaves(output)]
            shape = tuple(size for size in np.shape(last) if size != TRACED)
            is_new = all(row.name != path for row in rows)  # count parameters at the first call only
            rows.append(Row(path, kind.__name__, shape, size if is_new else 0, work))
            return output

        layer.__class__ = type(kind.__name__, (kind,), {"__call__": call})

    def forward(key, image, number):
        model = build(config, key)
        for part in ("classifier", "adder"):
            for name, layer in list(_layers(getattr(model, part))):
                watch(f"{part}.{name}", layer)
        features, digit = model.classify(image)
        rows.append(Row("digit", "logits", digit.shape[1:], 0, 0))
        rows.append(Row("number", "input", (10,), 0, 0))
        total = model.add(features, digit, number)
        rows.append(Row("sum", "logits", total.shape[1:], 0, 0))

    jax.eval_shape(forward, *_inputs(TRACED))
    return rows


@cache
def count_parameters(config: ModelConfig) -> int:
    """Return the number of trainable parameters.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models.summary import count_parameters
        >>> count_parameters(ModelConfig(classifier="reference"))
        6384925
    """
    return _count(abstract_model(config))


@cache
def count_multiply_adds(config: ModelConfig) -> int:
    """Return the multiply-adds of matrix products and convolutions in a forward pass of one image and one number."""
    _, *inputs = _inputs(1)
    program = jax.make_jaxpr(lambda model, *inputs: model(*inputs))(abstract_model(config), *inputs)
    return multiply_adds(program.jaxpr)


def _layers(module: nnx.Module) -> Iterator[tuple[str, nnx.Module]]:
    """Yield a module's layers with their paths, those in its lists and dicts one by one."""
    for name, child in nnx.iter_children(module):
        if isinstance(child, nnx.List | nnx.Dict):
            yield from ((f"{name}.{inner}", layer) for inner, layer in _layers(child))
        else:
            yield str(name), child


def _count(module: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(parameters(module)))


def _inputs(batch: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Return the shapes and types of a key, images and numbers."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = ((batch, 28, 28, 1), (batch, 10))
    return key, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)


def multiply_adds(jaxpr) -> int:
    """Return the multiply-adds of the matrix products and convolutions in a jaxpr; only the costliest branch counts."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // outputs
        inner = sum(
            multiply_adds(getattr(value, "jaxpr", value))
            for value in equation.params.values()
            if hasattr(value, "eqns") or hasattr(value, "jaxpr")
        )
        inner += max((multiply_adds(branch.jaxpr) for branch in equation.params.get("branches", ())), default=0)
        total += inner * (equation.params["length"] if equation.primitive.name == "scan" else 1)
    return total
