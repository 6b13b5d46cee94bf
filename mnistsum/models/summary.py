"""Model summaries: layers with shapes, parameters and multiply-adds, without computing anything."""

import math
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mnistsum.config import ModelConfig
from mnistsum.models import Model, abstract_model, build, parameters, rebuilt

TRACED = 7919  # batch size, traced but never computed: no other axis has this size, so it is found in any layout


class Row(NamedTuple):
    """One layer, input or output; shapes are of one example."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of its output, or of the last of several
    parameters: int
    multiply_adds: int  # for one image and one number


@cache
def summarize(config: ModelConfig) -> tuple[Row, ...]:
    """Return the model's inputs, layers and outputs, in the order of the computation.

    The rows of both outputs hold what the classifier and the adder have and compute outside their layers, so that each
    column adds up.

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
    # What is computed once per pass, whatever the batch, counts as it does for a single image.
    shapes, single = _trace(config, TRACED), _trace(config, 1)
    return tuple(row._replace(multiply_adds=one.multiply_adds) for row, one in zip(shapes, single, strict=True))


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


def count_multiply_adds(config: ModelConfig) -> int:
    """Return the multiply-adds of matrix products and convolutions in a forward pass of one image and one number.

    If the network holds a `while_loop`, whose length is unknown, it is at least that many, and a warning says so.
    """
    return sum(row.multiply_adds for row in summarize(config))


def _trace(config: ModelConfig, batch: int) -> list[Row]:
    """Return the rows of a forward pass of `batch` images, with its multiply-adds; shapes are right for TRACED."""
    rows = [Row("image", "input", (28, 28, 1), 0, 0)]

    def watch(path: str, layer: nnx.Module) -> None:
        """Make each call of a layer add a row; the layer keeps its attributes, which the network may read."""
        kind, size = type(layer), _count(layer)

        def call(self, *inputs, **named):
            output = kind.__call__(self, *inputs, **named)
            *_, last = [None, *jax.tree.leaves(output)]
            shape = tuple(side for side in np.shape(last) if side != TRACED)
            is_new = all(row.name != path for row in rows)  # count parameters at the first call only
            work = _work(kind.__call__, self, *inputs, **named)
            rows.append(Row(path, kind.__name__, shape, size if is_new else 0, work))
            return output

        layer.__class__ = type(kind.__name__, (kind,), {"__call__": call})

    def call_part(model: Model, name: str, call: Callable, *inputs: Any) -> tuple[int, int, Any]:
        """Return what a part has and computes outside its layers, and its outputs; add a row for each of its layers."""
        part, first = getattr(model, name), len(rows)
        size, work = _count(part), _work(call, model, *inputs)
        for path, layer in list(_layers(part)):
            watch(f"{name}.{path}", layer)
        outputs = call(model, *inputs)
        layers = rows[first:]
        size, work = size - sum(row.parameters for row in layers), work - sum(row.multiply_adds for row in layers)
        return size, work, outputs

    def forward(key, image, number):
        model = build(config, key)
        size, work, (features, digit) = call_part(model, "classifier", Model.classify, image)
        rows.append(Row("digit", "logits", (10,), size, work))
        rows.append(Row("number", "input", (10,), 0, 0))
        size, work, _ = call_part(model, "adder", Model.add, features, digit, number)
        rows.append(Row("sum", "logits", (19,), size, work))

    key = jax.eval_shape(lambda: jax.random.key(0))
    inputs = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((batch, 28, 28, 1), (batch, 10)))
    jax.eval_shape(forward, key, *inputs)
    return rows


def _layers(module: nnx.Module) -> Iterator[tuple[str, nnx.Module]]:
    """Yield a module's layers with their paths, those in its lists and dicts one by one."""
    for name, child in nnx.iter_children(module):
        if isinstance(child, nnx.List | nnx.Dict):
            yield from ((f"{name}.{inner}", layer) for inner, layer in _layers(child))
        elif isinstance(child, nnx.Module):
            yield str(name), child


def _count(module: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(parameters(module)))


def _work(call: Callable, *inputs: Any, **named: Any) -> int:
    """Return the multiply-adds of a call, which is traced but not computed."""
    return multiply_adds(jax.make_jaxpr(lambda: call(*rebuilt(inputs), **rebuilt(named)))().jaxpr)


def multiply_adds(jaxpr) -> int:
    """Return the multiply-adds of the matrix products and convolutions in a jaxpr.

    The body of a scan counts by its length, that of a while loop once, and only the costliest branch counts.
    """
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // outputs
        inner = [
            multiply_adds(getattr(value, "jaxpr", value))
            for value in params.values()
            if hasattr(value, "eqns") or hasattr(value, "jaxpr")
        ]
        inner.append(max((multiply_adds(branch.jaxpr) for branch in params.get("branches", ())), default=0))
        if name == "while" and any(inner):
            warnings.warn("multiply-adds are at least those shown: the body of a while_loop counts once", stacklevel=2)
        total += sum(inner) * (params["length"] if name == "scan" else 1)
    return total
