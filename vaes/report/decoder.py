"""A decoder as a list of plain operations and one block of float32 weights.

That is all `decoder.js` needs to turn a code into a picture where there is no torch. A module that
is not known here is refused by its name: what the page shows is what the model says, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from vaes.composed import Composed, Readout
from vaes.dist.autoregressive import Autoregressive
from vaes.model import Model
from vaes.nets.conv import Residual
from vaes.nets.mlp import ResidualMLP
from vaes.nets.thin import ThinConv2d, ThinConvTranspose2d
from vaes.recipes.ppca import PPCA
from vaes.report.heads import columnwise, head
from vaes.report.program import Op, Program, Store, Unsupported

Of = Callable[[Any, "Store"], list[Op]]


def export(model: Model) -> Program:
    """The mean of p(x|z) of `model` as a program; raises `Unsupported` where it cannot be one."""
    store = Store()
    if isinstance(model, PPCA):
        ops, means = [_linear(model, store)], {"head": "normal"}
    elif isinstance(model, Composed) and type(model).likelihood is Composed.likelihood:
        ops, means = _decoder(model.decoder, store)
        _refuse_misread(ops, flat=True)
    else:
        raise Unsupported(f"a likelihood of its own ({type(model).__name__})")
    weights = np.concatenate(store.parts) if store.parts else np.zeros(0, np.float32)
    if not np.isfinite(weights).all():
        raise Unsupported("weights that are not finite")
    return Program(model.latent, model.spec.size, ops, means, weights)


def _decoder(decoder: nn.Module, store: Store) -> tuple[list[Op], Op]:
    if type(decoder) is Autoregressive:
        return _ops(decoder.context, store), columnwise(decoder, store)
    if type(decoder) is not Readout:
        raise Unsupported(f"a decoder of type {type(decoder).__name__}")
    ops = [*_ops(decoder.body, store), {"op": "flatten"}, *_ops(decoder.last, store)]
    return ops, head(decoder.head, store)


# --- bodies -----------------------------------------------------------------------------------
def _ops(module: nn.Module, store: Store) -> list[Op]:
    # by the very type: a subclass may compute something else
    if type(module) not in OPS:
        raise Unsupported(f"a layer of type {type(module).__name__}")
    return OPS[type(module)](module, store)


def _refuse_misread(ops: list[Op], flat: bool) -> bool:
    """Whether numbers are flat after `ops`; refuses a layer that would read its rows otherwise."""
    for op in ops:
        name = op["op"]
        if name == "add":
            _refuse_misread(op["ops"], flat)
        elif name in ("flatten", "unflatten"):
            flat = name == "flatten"
        elif name in ("linear", "layer_norm") and not flat:
            raise Unsupported(f"a layer ({name}) that is given an image")
        elif name in ("conv", "conv_transpose") and flat:
            raise Unsupported(f"a layer ({name}) that is given a flat row")
    return flat


def _none(module: nn.Module, store: Store) -> list[Op]:
    return []


def _sequence(module: nn.Sequential, store: Store) -> list[Op]:
    return [op for child in module for op in _ops(child, store)]


def _linear(module: nn.Linear | PPCA, store: Store) -> Op:
    weight, bias = cast(Tensor, module.weight), module.bias
    return {
        "op": "linear",
        "out": weight.shape[0],
        "weight": store.add(weight),
        "bias": store.add(bias),
    }


def _flatten(module: nn.Flatten, store: Store) -> list[Op]:
    if module.start_dim != 1 or module.end_dim != -1:
        raise Unsupported("a Flatten of some axes only")
    return [{"op": "flatten"}]


def _unflatten(module: nn.Unflatten, store: Store) -> list[Op]:
    sizes = module.unflattened_size
    shape = [int(cast(int, side)) for side in sizes]
    if module.dim != 1 or len(shape) != 3 or min(shape) < 1:
        raise Unsupported(f"an Unflatten to {tuple(shape)}")
    return [{"op": "unflatten", "shape": shape}]


def _gelu(module: nn.GELU, store: Store) -> list[Op]:
    if module.approximate != "none":
        raise Unsupported(f"a GELU approximated by {module.approximate}")
    return [{"op": "gelu"}]


def _group_norm(module: nn.GroupNorm, store: Store) -> list[Op]:
    return [
        {
            "op": "group_norm",
            "groups": module.num_groups,
            "eps": module.eps,
            "weight": store.add(module.weight),
            "bias": store.add(module.bias),
        }
    ]


def _layer_norm(module: nn.LayerNorm, store: Store) -> list[Op]:
    if len(module.normalized_shape) != 1:
        raise Unsupported("a LayerNorm over several axes")
    weight, bias = store.add(module.weight), store.add(module.bias)
    return [{"op": "layer_norm", "eps": module.eps, "weight": weight, "bias": bias}]


def _convolution(module: nn.Conv2d | nn.ConvTranspose2d, store: Store) -> list[Op]:
    name = type(module).__name__
    plain = set(module.dilation) == {1} and module.groups == 1
    if not plain or module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise Unsupported(f"a {name} that is dilated, grouped or padded in another way")
    turned = isinstance(module, nn.ConvTranspose2d)
    return [
        {
            "op": "conv_transpose" if turned else "conv",
            "out": module.out_channels,
            "kernel": list(module.kernel_size),
            "stride": list(module.stride),
            "padding": list(module.padding),
            "extra": list(module.output_padding) if turned else [0, 0],
            "weight": store.add(module.weight),
            "bias": store.add(module.bias),
        }
    ]


def _residual(module: Residual, store: Store) -> list[Op]:
    return [{"op": "add", "ops": _ops(module.body, store)}]


def _residual_mlp(module: ResidualMLP, store: Store) -> list[Op]:
    blocks = [{"op": "add", "ops": _ops(block, store)} for block in module.blocks]
    return [*_ops(module.first, store), *blocks, *_ops(module.last, store)]


OPS: dict[type, Of] = {
    nn.Sequential: _sequence,
    nn.Identity: _none,
    nn.Dropout: _none,  # in evaluation
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    nn.Linear: lambda module, store: [_linear(module, store)],
    nn.SiLU: lambda module, store: [{"op": "silu"}],
    nn.ReLU: lambda module, store: [{"op": "relu"}],
    nn.Tanh: lambda module, store: [{"op": "tanh"}],
    nn.Sigmoid: lambda module, store: [{"op": "sigmoid"}],
    nn.GELU: _gelu,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _convolution,
    ThinConv2d: _convolution,
    ThinConvTranspose2d: _convolution,
    Residual: _residual,
    ResidualMLP: _residual_mlp,
}
