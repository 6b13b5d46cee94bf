"""What an architecture costs: parameters, and multiply-adds of a prediction."""

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from mnistsum.models import Model, parameters, rebuilt
from mnistsum.models.flax_layers import replace_quick

# XLA's own operations that train slowly on CPUs, by the beginning of a primitive's
# name.
SLOW = {"conv_general_dilated": "convolution", "reduce_window": "pool"}


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


def parameters_by_layer(model: Model) -> dict[str, int]:
    """Return how many parameters each layer holds itself, unless none.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models import abstract_model
        >>> from mnistsum.models.summary import parameters_by_layer
        >>> model = abstract_model(ModelConfig(classifier="mlp", widths=(32,)))
        >>> for layer, number in parameters_by_layer(model).items():
        ...     print(layer, number)
        classifier.hidden.0 25120
        classifier.output 330
        adder.hidden 2688
        adder.output 2451
    """
    layers: Counter[str] = Counter()
    for part in ("classifier", "adder"):
        for path, variable in nnx.to_flat_state(parameters(getattr(model, part))):
            layers[".".join(map(str, (part, *path[:-1])))] += variable.size
    return dict(layers)


def count_multiply_adds(model: Model, test_shift: int = 0) -> int:
    """Return the multiply-adds of a prediction for one image and one number.

    Matrix products and convolutions count as they are written in the network, however a
    backend computes them. If the network holds a `while_loop`, whose length is unknown,
    this is a lower bound, and a warning says so.

    Args:
        model: it may hold only shapes.
        test_shift: as in `DataConfig`; the classifier makes a pass for each shift.

    Examples:
        >>> from mnistsum.config import ModelConfig
        >>> from mnistsum.models import abstract_model
        >>> from mnistsum.models.summary import count_multiply_adds
        >>> model = abstract_model(ModelConfig(classifier="mlp", widths=(32,)))
        >>> count_multiply_adds(model)  # 784 * 32 + 32 * 10 + 20 * 128 + 128 * 19
        30400
    """
    parts = _trace(_as_written(model))
    passes = (2 * test_shift + 1) ** 2
    return passes * multiply_adds(parts["classifier"]) + multiply_adds(parts["adder"])


def slow_operations(model: Model) -> list[tuple[str, str]]:
    """Return each part of a model and each of XLA's slow operations that it holds."""
    found = []
    for part, equations in _trace(model).items():
        names = set(_primitives(equations))
        for primitive, operation in SLOW.items():
            if any(name.startswith(primitive) for name in names):
                found.append((part, operation))
    return found


def multiply_adds(equations: Iterable[Any]) -> int:
    """Return the multiply-adds of products and convolutions in equations.

    A scan's body counts as often as it runs, and a while loop's once. Of branches, only
    the costliest counts.
    """
    total = 0
    for equation in equations:
        name = equation.primitive.name
        if name == "dot_general":
            total += _of_product(equation)
        elif name == "conv_general_dilated":
            total += _of_convolution(equation)
        inner = [multiply_adds(body.eqns) for body in _bodies(equation)]
        if name == "while" and any(inner):
            warnings.warn(
                "multiply-adds are at least those shown: a while_loop's body counts "
                "once",
                stacklevel=2,
            )
        if name == "cond":
            total += max(inner)
        else:
            total += sum(inner) * equation.params.get("length", 1)
    return total


def _of_product(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return equation.outvars[0].aval.size * math.prod(left[axis] for axis in contracted)


def _of_convolution(equation: Any) -> int:
    """Return the multiply-adds of a convolution.

    Along each axis, a weight counts once for each output, but at most once for each
    input. So the padding that keeps the size counts. The zeros between the inputs of a
    transposed convolution do not: it costs as much as the convolution of which it is
    the transpose.
    """
    inputs, kernel = (variable.aval.shape for variable in equation.invars)
    outputs = equation.outvars[0].aval.shape
    layout = equation.params["dimension_numbers"]
    sides = zip(layout.lhs_spec[2:], layout.out_spec[2:], strict=True)
    places = math.prod(
        min(inputs[of_input], outputs[of_output]) for of_input, of_output in sides
    )
    return outputs[layout.out_spec[0]] * places * math.prod(kernel)


def _primitives(equations: Iterable[Any]) -> Iterator[str]:
    """Yield the names of the primitives in equations and in the jaxprs inside them."""
    for equation in equations:
        yield equation.primitive.name
        for body in _bodies(equation):
            yield from _primitives(body.eqns)


def _bodies(equation: Any) -> list[Any]:
    """Return the jaxprs that an equation holds, such as a loop's body."""
    values = jax.tree.leaves(list(equation.params.values()))
    return [value for value in values if hasattr(value, "eqns")]


def _trace(model: Model) -> dict[str, list[Any]]:
    """Return the equations of the classifier and of the adder, for one pair."""
    image = jax.ShapeDtypeStruct((1, 28, 28, 1), jnp.float32)
    number = jax.ShapeDtypeStruct((1, 10), jnp.float32)
    classify, outputs = jax.make_jaxpr(Model.classify, return_shape=True)(model, image)
    add = jax.make_jaxpr(Model.add)(model, *outputs, number)
    return {"classifier": classify.eqns, "adder": add.eqns}


def _as_written(model: Model) -> Model:
    """Return a copy with Flax's own convolutions."""
    model = rebuilt(model)
    replace_quick(model, lax.conv_general_dilated)
    return model
