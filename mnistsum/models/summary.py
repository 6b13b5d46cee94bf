"""Model summaries: layers with shapes, parameters and multiply-adds, without computing anything."""

import math
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mnistsum.models import Model, parameters

NATIVE = {"conv_general_dilated": "convolution", "reduce_window": "pool"}  # XLA's own, by the names of primitives


class Row(NamedTuple):
    """One layer; if it contains others, only what it has and computes outside them."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of its output, or of the last of several; of one example
    parameters: int
    multiply_adds: int  # for one image and one number
    native: tuple[str, ...] = ()  # XLA's own convolutions and pools in it, which train slowly on CPUs


def summarize(model: Model) -> tuple[Row, ...]:
    """Return a model's layers in the order of the computation; each column adds up to the model's total.

    A layer has one row, however often it is called. The model may hold only shapes.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models import abstract_model
        >>> from mnistsum.models.summary import summarize
        >>> for row in summarize(abstract_model(ModelConfig(classifier="mlp", widths=(32,)))):
        ...     print(row.name, row.kind, row.shape, row.parameters)
        classifier.hidden.0 Dense (32,) 25120
        classifier.output Dense (10,) 330
        classifier MLP (10,) 0
        adder.join Join (20,) 0
        adder.hidden Dense (128,) 2688
        adder.output Dense (19,) 2451
        adder Concat (19,) 0
    """
    rows, equations = _trace(model, 1)
    of_two, _ = _trace(model, 2)
    for name, row in rows.items():  # drop the axis that grows with the batch, wherever it is
        sides = zip(row.shape, of_two[name].shape, strict=True)
        rows[name] = row._replace(shape=tuple(a for a, b in sides if a == b))
    for equation in equations:
        names = [scope for scope in str(equation.source_info.name_stack).split("/") if scope in rows]
        if names:
            row, text = rows[names[-1]], str(equation)  # with the equations inside it
            native = {kind for primitive, kind in NATIVE.items() if primitive in text}.union(row.native)
            work = row.multiply_adds + multiply_adds([equation])
            rows[row.name] = row._replace(multiply_adds=work, native=tuple(sorted(native)))
    return tuple(rows.values())


def count_parameters(module: nnx.Module) -> int:
    """Return the number of trainable parameters of a model or of a layer.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models import abstract_model
        >>> from mnistsum.models.summary import count_parameters
        >>> count_parameters(abstract_model(ModelConfig(classifier="reference")))
        6384925
    """
    return sum(leaf.size for leaf in jax.tree.leaves(parameters(module)))


def count_multiply_adds(model: Model) -> int:
    """Return the multiply-adds of matrix products and convolutions in a forward pass of one image and one number.

    If the network holds a `while_loop`, whose length is unknown, this is a lower bound, and a warning says so.
    """
    return sum(row.multiply_adds for row in summarize(model))


def _trace(model: Model, batch: int) -> tuple[dict[str, Row], list[Any]]:
    """Return rows by name, with shapes of the whole batch, and the traced equations, whose scopes are names of rows."""
    rows: dict[str, Row] = {}

    def watch(name: str, layer: nnx.Module) -> None:
        """Make a layer's calls add its row; it keeps its attributes, which the network may read."""
        kind, size = type(layer), count_parameters(layer)

        def call(self, *inputs, **named):
            with jax.named_scope(name):
                output = kind.__call__(self, *inputs, **named)
            shape = jnp.shape(next(reversed(jax.tree.leaves(output)), 0))
            inner = sum(row.parameters for row in rows.values() if row.name.startswith(f"{name}."))
            rows[name] = Row(name, kind.__name__, shape, size - inner, 0)
            return output

        layer.__class__ = type(kind.__name__, (kind,), {"__call__": call})

    def forward(model: Model, image: jax.Array, number: jax.Array) -> None:
        for path, layer in list(nnx.iter_modules(model)):
            watch(".".join(map(str, path)), layer)
        model.add(*model.classify(image), number)

    inputs = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((batch, 28, 28, 1), (batch, 10)))
    return rows, jax.make_jaxpr(forward)(model, *inputs).eqns


def multiply_adds(equations: Iterable[Any]) -> int:
    """Return the multiply-adds of the matrix products and convolutions in the equations of a jaxpr.

    A scan's body counts as often as it runs, and a while loop's once. Of branches, only the costliest counts.
    """
    total = 0
    for equation in equations:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = kernel[params["dimension_numbers"].rhs_spec[0]]
            total += math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // outputs
        inner = [multiply_adds(body.eqns) for body in jax.tree.leaves(list(params.values())) if hasattr(body, "eqns")]
        if name == "while" and any(inner):
            warnings.warn("multiply-adds are at least those shown: the body of a while_loop counts once", stacklevel=2)
        if inner:
            total += max(inner) if name == "cond" else sum(inner) * params.get("length", 1)
    return total
