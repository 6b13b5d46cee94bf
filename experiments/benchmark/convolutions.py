"""Where the convolutions' time goes: each part alone, beside the whole and PyTorch's, in bfloat16."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

from experiments.benchmark.pytorch import DEVICE, wait
from experiments.report import markdown
from mnistsum.models import layers

BATCH = 128
REPEATS = 8  # of a part within one compiled loop, so that it works in memory already touched
EXPLAINED = """\
Batches of 128, bfloat16, medians over rounds; shares and ratios are those of a round, and sums are over its layers.
Views: the maps, rounded, padded and copied as each position of the kernel sees them. Product: that of the kernel and
these views, with float32 sums; the two are timed apart, so they need not add up to the whole. Forward, the kernel is
rounded and transposed once for eight convolutions, as in evaluation once for ten batches. Training is forward and the
gradients to kernel and maps (not to the image); its products include the rounding of kernel and gradient. PyTorch's
operands and results are bfloat16; those of mnistsum are float32, rounded within the time. PyTorch's time to the
products' alone is the ratio that mnistsum would reach if it did nothing else."""


class Convolution(NamedTuple):
    """A layer on square maps of `side` pixels per side, padded by `edge`."""

    network: str
    inputs: int
    outputs: int
    side: int
    size: int = 3
    stride: int = 1
    edge: int = 0

    @property
    def padding(self) -> str:
        """Return the name of the padding."""
        return "SAME" if self.edge else "VALID"

    @property
    def multiply_adds(self) -> int:
        """Return the multiply-adds of a batch."""
        side = (self.side + 2 * self.edge - self.size) // self.stride + 1
        return BATCH * side**2 * self.size**2 * self.inputs * self.outputs


CONVOLUTIONS = (
    Convolution("compact", 1, 24, 28, size=5, stride=2),
    Convolution("compact", 24, 48, 12),
    Convolution("compact", 48, 64, 5, edge=1),
    Convolution("compact", 64, 96, 5),
    Convolution("reference", 32, 64, 28, edge=1),
    Convolution("reference", 64, 128, 14, edge=1),
    Convolution("reference", 128, 256, 14, edge=1),
    Convolution("reference", 256, 512, 7),
    Convolution("reference", 512, 1024, 5),
)


def measure(rounds: int) -> list[dict[str, Any]]:
    """Return, for each convolution, the seconds of its parts in each round; each takes one turn per round."""
    timings = []
    for convolution in CONVOLUTIONS:
        parts = _forward(convolution) | _training(convolution)
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(rounds + 1):
            for name, part in parts.items():
                start = time.perf_counter()
                part()
                wait()
                seconds[name].append((time.perf_counter() - start) / REPEATS)
        timings.append(convolution._asdict() | {"seconds": {name: taken[1:] for name, taken in seconds.items()}})
    return timings


def _forward(convolution: Convolution) -> dict[str, Callable[[], Any]]:
    """Return each part as a function that runs it REPEATS times: forward, on maps and kernels of ones."""
    maps, kernel, pads = _operands(convolution)
    size, stride = convolution.size, convolution.stride
    views = layers.stack_views(maps.astype(jnp.bfloat16), (size, size), stride, pads)

    def whole(maps, kernel):
        return layers.convolve(maps, kernel, stride, convolution.padding, "bfloat16")

    def stack(maps):
        return layers.stack_views(maps.astype(jnp.bfloat16), (size, size), stride, pads)

    def multiply(rows, views):
        return layers.product(rows, views, ((1,), (0,)))

    @torch.no_grad()
    def pytorch():
        for _ in range(REPEATS):
            torch.nn.functional.conv2d(nchw, weight, None, stride, convolution.edge)

    nchw, weight = _torch_operands(convolution)
    return {
        "whole": _repeated(whole, maps, fixed=[kernel]),
        "views": _repeated(stack, maps),
        "product": _repeated(multiply, kernel.reshape(-1, kernel.shape[-1]).T.astype(jnp.bfloat16), fixed=[views]),
        "PyTorch": pytorch,
    }


def _training(convolution: Convolution) -> dict[str, Callable[[], Any]]:
    """Return the parts of training likewise, with gradients to the kernel and, unless an image, to the maps."""
    maps, kernel, pads = _operands(convolution)
    is_first_layer = convolution.inputs == 1
    views = layers.stack_views(maps.astype(jnp.bfloat16), kernel.shape[:2], convolution.stride, pads)
    gradient = jnp.ones((convolution.outputs, *views.shape[1:]), jnp.float32)

    def whole(maps, kernel, gradient):
        def forward(maps, kernel):
            return layers.convolve(maps, kernel, convolution.stride, convolution.padding, "bfloat16")

        out, backward = jax.vjp(forward, maps, kernel)
        maps_gradient, kernel_gradient = backward(gradient)
        return (out, kernel_gradient) if is_first_layer else (out, kernel_gradient, maps_gradient)

    def multiply(kernel, gradient, views):
        matrix, gradient = kernel.reshape(-1, kernel.shape[-1]).astype(jnp.bfloat16), gradient.astype(jnp.bfloat16)
        out = layers.product(lax.optimization_barrier(matrix.T), views, ((1,), (0,)))
        kernel_gradient = layers.product(views, gradient, ((1, 2, 3), (1, 2, 3)))
        if is_first_layer:
            return out, kernel_gradient
        return out, kernel_gradient, layers.product(matrix, gradient, ((1,), (0,)))

    def pytorch():
        for _ in range(REPEATS):
            out = torch.nn.functional.conv2d(nchw, weight, None, convolution.stride, convolution.edge)
            torch.autograd.grad(out, inputs, grad_outputs)

    nchw, weight = _torch_operands(convolution)
    grad_outputs = torch.ones_like(torch.nn.functional.conv2d(nchw, weight, None, convolution.stride, convolution.edge))
    inputs = [each.requires_grad_() for each in ((weight,) if is_first_layer else (weight, nchw))]
    return {
        "training": _repeated(whole, maps, kernel, gradient),
        "products of training": _repeated(multiply, kernel, gradient, fixed=[views]),
        "PyTorch's training": pytorch,
    }


def _operands(convolution: Convolution) -> tuple[jax.Array, jax.Array, tuple[tuple[int, int], ...]]:
    """Return maps and a kernel of ones, and the padding."""
    _, inputs, outputs, side, size, _, edge = convolution
    maps = jnp.ones((inputs, side, side, BATCH), jnp.float32)
    return maps, jnp.ones((size, size, inputs, outputs), jnp.float32), ((edge, edge), (edge, edge))


def _torch_operands(convolution: Convolution) -> tuple[torch.Tensor, torch.Tensor]:
    """Return PyTorch's maps and kernel."""
    _, inputs, outputs, side, size, _, _ = convolution
    form = {"dtype": torch.bfloat16, "device": DEVICE}
    maps = torch.ones(BATCH, inputs, side, side, **form).to(memory_format=torch.channels_last)
    return maps, torch.ones(outputs, inputs, size, size, **form).to(memory_format=torch.channels_last)


def _repeated(part: Callable[..., Any], *changing: jax.Array, fixed: Sequence[jax.Array] = ()) -> Callable[[], Any]:
    """Return a compiled loop over a part that repeats all work on the changing operands in every iteration."""

    def loop(changing, fixed, results):
        def iteration(_, carry):
            zero, _ = carry
            results = part(*(each + zero.astype(each.dtype) for each in changing), *fixed)
            # This is 0, but the compiler may not assume so, as 0 times infinity is not.
            return sum(0 * result.ravel()[0].astype(jnp.float32) for result in jax.tree.leaves(results)), results

        return lax.fori_loop(0, REPEATS, iteration, (jnp.float32(0), results))

    compiled, results = jax.jit(loop), part(*changing, *fixed)
    return lambda: jax.block_until_ready(compiled(changing, fixed, results))


def tabulate(timings: list[dict[str, Any]]) -> str:
    """Return the tables of the results of `measure`: forward, and training."""
    forward, training = [], []
    for name, convolutions in _rows_of(timings).items():
        seconds = {
            part: np.sum([layer["seconds"][part] for layer in convolutions], 0) for part in timings[0]["seconds"]
        }
        whole, views, product = (seconds[part] for part in ("whole", "views", "product"))
        of_row = [Convolution(**{field: layer[field] for field in Convolution._fields}) for layer in convolutions]
        rate = 2 * sum(layer.multiply_adds for layer in of_row) / median(product) / 1e9
        shares = [f"{median(part / whole):.0%}" for part in (views, product)]
        forward.append([name, *_milliseconds(whole, seconds["PyTorch"]), *shares, f"{rate:,.0f}"])
        whole, products, pytorch = (seconds[f"{part}training"] for part in ("", "products of ", "PyTorch's "))
        ratios = [f"{median(pytorch / part):.2f}" for part in (whole, products)]
        training.append([name, *_milliseconds(whole, pytorch), f"{median(products / whole):.0%}", *ratios])
    both = ["ms", "PyTorch, ms"]
    columns = [*both, "views", "product", "product, GFLOP/s"]
    tables = [markdown.table(["forward, channels and side", *columns], forward)]
    columns = [*both, "products", "PyTorch's time to ours", "to the products' alone"]
    tables.append(markdown.table(["training, channels and side", *columns], training))
    return "\n\n".join(tables)


def _rows_of(timings: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a table by name: each layer, and all layers of each network."""
    rows = {f"{one['network']}, {one['inputs']} to {one['outputs']} at {one['side']}": [one] for one in timings}
    for network in dict.fromkeys(one["network"] for one in timings):
        of_network = [one for one in timings if one["network"] == network]
        rows[f"{network}, all {len(of_network)} above"] = of_network
    return rows


def _milliseconds(*parts: np.ndarray) -> list[str]:
    return [f"{1e3 * median(seconds):.2f}" for seconds in parts]
