"""Fully connected bodies for flat rows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vaes.errors import UsageError, did_you_mean

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def activation(name: str) -> nn.Module:
    """The activation called `name`."""
    if name not in ACTIVATIONS:
        raise UsageError(f"activation '{name}' is not known; {did_you_mean(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def mlp(
    inputs: int, hidden: Sequence[int], act: str = "silu", dropout: float = 0.0
) -> nn.Sequential:
    """Flatten, then linear layers of the widths `hidden`, each followed by an activation and, while
    training, by dropout of that share of its units.

    (n, ...) -> (n, hidden[-1]); with no hidden layer the flattened input itself.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(inputs, width), activation(act)]
        layers += [nn.Dropout(dropout)] if dropout else []
        inputs = width
    return nn.Sequential(*layers)


class ResidualMLP(nn.Module):
    """One linear map to `width`, then `depth` blocks h + W act(norm(h)); (n, ...) -> (n, width)."""

    def __init__(self, inputs: int, width: int, depth: int, act: str = "silu") -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(inputs, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, width),
                activation(act),
                nn.Linear(width, width),
            )
            for _ in range(depth)
        )
        self.last = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)
