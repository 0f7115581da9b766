"""A second reader of the program that `vaes.report.decoder` writes: numpy, float64, no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import erf, expit, log_softmax, softmax

from vaes.report.decoder import Program

Array = np.ndarray
PARTS = ("embedding", "weight", "base", "bias", "block", "shift")
ELEMENTWISE = {
    "silu": lambda x: x * expit(x),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": expit,
    "gelu": lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))),
}


def run(program: Program, z: Array) -> Array:
    """The mean of p(x|z) at one code z (latent,), (size,) in model space."""
    weights = program.weights.astype(np.float64)
    told = program.to_json()
    h = _ops(np.asarray(z, np.float64), told["ops"], weights)
    return _head(h, told["head"], told["size"], weights)


def _at(weights: Array, where: list[int] | None, *shape: int) -> Array | float:
    return 0.0 if where is None else weights[where[0] : where[0] + where[1]].reshape(shape or -1)


def _ops(h: Array, ops: list[dict[str, Any]], weights: Array) -> Array:
    for op in ops:
        h = _op(h, op, weights)
    return h


def _op(h: Array, op: dict[str, Any], weights: Array) -> Array:
    name = op["op"]
    if name in ELEMENTWISE:
        return ELEMENTWISE[name](h)
    if name == "flatten":
        return h.reshape(-1)
    if name == "unflatten":
        return h.reshape(op["shape"])
    if name == "linear":
        return _at(weights, op["weight"], op["out"], -1) @ h + _at(weights, op["bias"])
    if name == "add":
        return h + _ops(h, op["ops"], weights)
    if name in ("group_norm", "layer_norm"):
        groups, channels = op.get("groups", 1), len(h)
        x = h.reshape(groups, -1)
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + op["eps"])
        column = (channels,) + (1,) * (h.ndim - 1)
        return x.reshape(h.shape) * _at(weights, op["weight"], *column) + _at(
            weights, op["bias"], *column
        )
    assert name in ("conv", "conv_transpose")
    y = (_transposed if name == "conv_transpose" else _convolved)(h, op, weights)
    return y + (0.0 if op["bias"] is None else _at(weights, op["bias"], op["out"], 1, 1))


def _convolved(h: Array, op: dict[str, Any], weights: Array) -> Array:
    (ph, pw), (sh, sw) = op["padding"], op["stride"]
    padded = np.pad(h, ((0, 0), (ph, ph), (pw, pw)))
    kernel = _at(weights, op["weight"], op["out"], len(h), *op["kernel"])
    windows = np.lib.stride_tricks.sliding_window_view(padded, op["kernel"], (1, 2))[:, ::sh, ::sw]
    return np.einsum("chwpq,ocpq->ohw", windows, kernel)


def _transposed(h: Array, op: dict[str, Any], weights: Array) -> Array:
    """The adjoint: each pixel adds its kernel to the output, then padding is cut away."""
    (ph, pw), (sh, sw), (eh, ew) = op["padding"], op["stride"], op["extra"]
    (kh, kw), (channels, height, width) = op["kernel"], h.shape
    kernel = _at(weights, op["weight"], channels, op["out"], kh, kw)
    full = np.zeros((op["out"], (height - 1) * sh + kh + eh, (width - 1) * sw + kw + ew))
    for i in range(height):
        for j in range(width):
            patch = np.tensordot(h[:, i, j], kernel, 1)
            full[:, i * sh : i * sh + kh, j * sw : j * sw + kw] += patch
    return full[:, ph : full.shape[1] - ph, pw : full.shape[2] - pw]


def _head(h: Array, head: dict[str, Any], size: int, weights: Array) -> Array:
    name = head["head"]
    if name == "normal":
        return h[:size]
    if name == "bernoulli":
        return expit(h)
    if name == "logistic":
        n = head["levels"]
        if "log_scale" in head:
            log_scale = np.broadcast_to(_at(weights, head["log_scale"]), size)
        else:
            log_scale = _clip(h[size:] + head["start"], *head["bounds"])
        # over the masses of all levels, not by the sum of tails that the library takes
        edges = np.arange(1, n) / n
        below = expit((edges[:, None] - (h[:size] + 0.5)) * np.exp(-log_scale))
        mass = np.diff(np.vstack([np.zeros(size), below, np.ones(size)]), axis=0)
        return (np.arange(n) / (n - 1)) @ mass
    if name == "categorical":
        logits = h.reshape(head["levels"], size)
        if not head["grid"]:
            return logits.argmax(0).astype(float)
        return np.arange(head["levels"]) @ softmax(logits, 0) / max(1, head["levels"] - 1)
    if name == "counts":
        return np.exp(_clip(h[:size], *head["bounds"]))
    if name == "shares":
        share = log_softmax(h[:size] + _at(weights, head["log_share"]))
        return np.exp(share + head["log_total"])
    if name == "cells":
        cuts = np.cumsum([column["n"] for column in head["columns"]])[:-1]
        pairs = zip(head["columns"], np.split(h, cuts), strict=True)
        return np.array([_placed(column, _middle(part, column), head) for column, part in pairs])
    if name == "columnwise":
        return _columnwise(h, head, weights)
    assert name == "columns"
    out, start = np.full(size, np.nan), 0
    for part in head["parts"]:
        numbers = h[start : start + part["numbers"]]
        out[part["index"]] = _head(numbers, part, len(part["index"]), weights)
        start += part["numbers"]
    return out


def _middle(logits: Array, column: dict[str, Any]) -> tuple[int, float]:
    """The cell of the median and the place in it; of cells without an order the likeliest."""
    p = softmax(logits)
    if not column["ordered"]:
        return int(p.argmax()), 0.5
    ends = np.cumsum(p)
    code = int(np.searchsorted(ends, 0.5))
    return code, (0.5 - (ends[code] - p[code])) / p[code]


def _placed(column: dict[str, Any], middle: tuple[int, float], head: dict[str, Any]) -> float:
    code, place = middle
    if not column["numeric"]:
        return code / column["unit"]
    return code + (0.5 if code in column["alone"] else np.clip(place, *head["place"]))


def _columnwise(context: Array, head: dict[str, Any], weights: Array) -> Array:
    width, given = len(context), context.copy()
    codes: list[int] = []
    found = []
    for column in head["columns"]:
        numbers = {k: _at(weights, v) for k, v in column.items() if k in PARTS}
        h = given + numbers["bias"]
        block = numbers["block"].reshape(width, width)
        h = ELEMENTWISE["silu"](h + ELEMENTWISE["silu"](h) @ block + numbers["shift"])
        logits = numbers["weight"].reshape(-1, width) @ h + numbers["base"]
        if column["tailed"]:
            logits[[0, -1]] = -np.inf
        middle = _middle(logits, column)
        codes.append(middle[0])
        if column["gate"] is None or codes[column["gate"]] == 1:
            given = given + numbers["embedding"].reshape(-1, width)[middle[0]]
        found.append(_placed(column, middle, head))
    return np.array(found)


def _clip(x: Array, low: float, high: float) -> Array:
    return low + np.logaddexp(0, x - low) - np.logaddexp(0, x - high)
