"""Where the convolutions' time goes: each part alone, beside the whole and PyTorch's, in bfloat16."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import torch
from jax import lax

from experiments.benchmark.pytorch import DEVICE, wait
from experiments.report import markdown
from mnistsum.models import layers

BATCH = 128
REPEATS = 8  # of a part within one compiled loop, so that it works in memory already touched
PARTS = ("whole", "views", "product", "PyTorch")
EXPLAINED = """\
Forward, batches of 128, bfloat16, medians. Views: the padded maps as each place of the kernel sees them, copied.
Product: that of the kernel and these views, with float32 sums. The rest is the rounding of maps and kernel to bfloat16,
and the kernel's rearrangement."""


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
    found = []
    for convolution in CONVOLUTIONS:
        parts = _parts(convolution)
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(rounds + 1):
            for name, part in parts.items():
                start = time.perf_counter()
                part()
                wait()
                seconds[name].append((time.perf_counter() - start) / REPEATS)
        found.append(convolution._asdict() | {"seconds": {name: taken[1:] for name, taken in seconds.items()}})
    return found


def _parts(convolution: Convolution) -> dict[str, Callable[[], Any]]:
    """Return each part as a function that runs it REPEATS times: forward, on maps and kernels of ones."""
    _, inputs, outputs, side, size, stride, edge = convolution
    maps = jnp.ones((inputs, side, side, BATCH), jnp.float32)
    kernel = jnp.ones((size, size, inputs, outputs), jnp.float32)
    pads = ((edge, edge), (edge, edge))
    rounded = maps.astype(jnp.bfloat16)
    views = layers.stack_views(rounded, (size, size), stride, pads)
    rows = kernel.reshape(-1, outputs).T.astype(jnp.bfloat16)

    def whole(maps, kernel):
        return layers.convolve(maps, kernel, stride, convolution.padding, "bfloat16")

    def stack(maps):
        return layers.stack_views(maps, (size, size), stride, pads)

    def multiply(rows, views):
        return layers.product(rows, views, ((1,), (0,)))

    form = {"dtype": torch.bfloat16, "device": DEVICE}
    nchw = torch.ones(BATCH, inputs, side, side, **form).to(memory_format=torch.channels_last)
    weight = torch.ones(outputs, inputs, size, size, **form).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def pytorch():
        for _ in range(REPEATS):
            torch.nn.functional.conv2d(nchw, weight, None, stride, edge)

    parts = (_repeated(whole, maps, kernel), _repeated(stack, rounded), _repeated(multiply, rows, views), pytorch)
    return dict(zip(PARTS, parts, strict=True))


def _repeated(part: Callable[..., jax.Array], first: jax.Array, *rest: jax.Array) -> Callable[[], Any]:
    """Return a compiled loop over the part, in which each turn's first operand depends on the previous result."""

    def turn(_, carry):
        first, result = carry
        nothing = (0 * result.ravel()[0]).astype(first.dtype)  # 0, but the compiler cannot assume it of a float
        return first + nothing, part(first + nothing, *rest)

    loop = jax.jit(lambda first, result: lax.fori_loop(0, REPEATS, turn, (first, result))[1])
    result = part(first, *rest)
    return lambda: loop(first, result).block_until_ready()


def tabulate(found: list[dict[str, Any]]) -> str:
    """Return a table of the results of `measure`."""
    rows = []
    for layer in found:
        convolution = Convolution(**{name: layer[name] for name in Convolution._fields})
        taken = {name: median(seconds) for name, seconds in layer["seconds"].items()}
        rate = 2 * convolution.multiply_adds / taken["product"] / 1e9
        rest = 1 - (taken["views"] + taken["product"]) / taken["whole"]
        rows.append(
            [
                f"{convolution.network}, {convolution.inputs} to {convolution.outputs} at {convolution.side}",
                *(f"{1e3 * taken[name]:.2f}" for name in PARTS),
                f"{taken['views'] / taken['whole']:.0%}",
                f"{taken['product'] / taken['whole']:.0%}",
                f"{rest:.0%}",
                f"{rate:,.0f}",
            ]
        )
    header = ["channels and side", *(f"{name}, ms" for name in PARTS), "views", "product", "rest", "product, GFLOP/s"]
    return markdown.table(header, rows)
