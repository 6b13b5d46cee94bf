"""Layers that every architecture shares: flax's own, given this project's initialisation, type and convolution."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from mnistsum.config import ModelConfig


def convolve(inputs, kernel, strides, padding, **options):
    """`lax.conv_general_dilated` of NHWC images and an HWIO kernel, by the quickest way on this backend.

    On the CPU, XLA's own convolutions are the quickest going forward, but not their gradients: inside a loop, which
    training is, they are several times slower than the gradients of one matrix product (jax-ml/jax#12868).
    """
    dilations = (*options["lhs_dilation"], *options["rhs_dilation"])
    if jax.default_backend() != "cpu" or options["feature_group_count"] != 1 or set(dilations) != {1}:
        return lax.conv_general_dilated(inputs, kernel, strides, padding, **options)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(inputs.shape[1:3], kernel.shape[:2], strides, padding)
    return _convolve(inputs, kernel, tuple(strides), tuple(map(tuple, padding)))


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(inputs, kernel, strides, padding):
    return lax.conv_general_dilated(inputs, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _convolve_forward(inputs, kernel, strides, padding):
    return jax.vjp(partial(_as_product, strides=strides, padding=padding), inputs, kernel)


def _convolve_backward(strides, padding, pull_back, gradient):
    return pull_back(gradient)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _as_product(inputs, kernel, strides, padding):
    """The convolution as one matrix product: the kernel with the shifted views of the padded images, side by side."""
    height, width, channels, features = kernel.shape
    inputs = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
    rows, columns = (1 + (inputs.shape[1 + i] - kernel.shape[i]) // strides[i] for i in range(2))
    ends = ((rows - 1) * strides[0] + 1, (columns - 1) * strides[1] + 1)
    views = [
        inputs[:, y : y + ends[0] : strides[0], x : x + ends[1] : strides[1]]
        for y in range(height)
        for x in range(width)
    ]
    return jnp.concatenate(views, -1) @ kernel.reshape(height * width * channels, features)


class Conv(nnx.Conv):
    """A convolution with bias: [batch, height, width, inputs] to [batch, height', width', outputs]."""

    def __init__(
        self, config: ModelConfig, inputs: int, outputs: int, size: int, rngs: nnx.Rngs, stride=1, padding="SAME"
    ):
        fan_in = size * size * inputs
        kernel_init, bias_init = initialisers(config, fan_in)
        super().__init__(
            inputs,
            outputs,
            (size, size),
            (stride, stride),
            padding=padding,
            dtype=jnp.dtype(config.dtype),
            kernel_init=kernel_init,
            bias_init=bias_init,
            conv_general_dilated=convolve,
            rngs=rngs,
        )


class Dense(nnx.Linear):
    """A fully connected layer with bias: [..., inputs] to [..., outputs]."""

    def __init__(self, config: ModelConfig, inputs: int, outputs: int, rngs: nnx.Rngs):
        kernel_init, bias_init = initialisers(config, inputs)
        super().__init__(
            inputs, outputs, dtype=jnp.dtype(config.dtype), kernel_init=kernel_init, bias_init=bias_init, rngs=rngs
        )


class Norm(nnx.RMSNorm):
    """Divides each example by the root mean square of its whole feature map; one learned scale a channel.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467, over height, width and channels.
    """

    def __init__(self, config: ModelConfig, channels: int, rngs: nnx.Rngs):
        super().__init__(
            channels, dtype=jnp.dtype(config.dtype), reduction_axes=(-3, -2, -1), feature_axes=-1, rngs=rngs
        )


def initialisers(config: ModelConfig, fan_in: int):
    """The initialisers of a kernel and of its bias.

    `torch`: both uniform in +-1 / sqrt(fan_in), PyTorch's default for convolutions and linear layers (the formula of
    `torch.nn.init.kaiming_uniform_` with a = sqrt(5)). `he`: kernel truncated normal with variance 2 / fan_in (He et
    al. 2015, arXiv:1502.01852), bias zero.
    """
    if config.initialisation == "torch":
        bound = 1 / math.sqrt(fan_in)

        def uniform(key, shape, dtype=jnp.float32, out_sharding=None):
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        return uniform, uniform
    return nnx.initializers.he_normal(), nnx.initializers.zeros_init()


def max_pool(images: Float[Array, "batch height width channels"]) -> Float[Array, "batch height//2 width//2 channels"]:
    """The largest of each 2x2 square; a last odd row or column is dropped.

    Reshape and max: the gradient of XLA's pooling is a scatter, which is slow on the CPU.
    """
    batch, height, width, channels = images.shape
    images = images[:, : height // 2 * 2, : width // 2 * 2]
    return images.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))
