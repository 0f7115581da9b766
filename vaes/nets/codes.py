"""A vector of numbers for every training row, moved by an Adam of its own for each row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaes.errors import UsageError

MOST = 1_000_000  # rows: with the two moments of Adam a gigabyte at 80 numbers a row
BETAS, EPS = (0.9, 0.99), 1e-8  # a row takes hundreds of steps, not thousands


class Table(nn.Module):
    """`size` numbers for each of `rows` rows, 0 at first, as a buffer: part of a saved model, but
    no player's. Only rows that are asked for move; the others and their moments stay as they are.

    A million rows at most: UsageError beyond.
    """

    numbers: Tensor
    first: Tensor
    second: Tensor
    taken: Tensor

    def __init__(self, rows: int, size: int) -> None:
        super().__init__()
        if rows > MOST:
            raise UsageError(
                f"{rows:,} training rows: a table of codes holds {MOST:,}; take a recipe with an "
                "encoder, or fewer rows"
            )
        self.register_buffer("numbers", torch.zeros(rows, size))
        self.register_buffer("first", torch.zeros(rows, size), persistent=False)
        self.register_buffer("second", torch.zeros(rows, size), persistent=False)
        self.register_buffer("taken", torch.zeros(rows, dtype=torch.long), persistent=False)

    def __len__(self) -> int:
        return len(self.numbers)

    def forward(self, index: Tensor) -> Tensor:
        """The numbers of the rows `index` (n,), (n, size)."""
        return self.numbers[index]

    def knows(self, index: Tensor) -> Tensor:
        """Which of the rows `index` (n,) have a place here."""
        return (index >= 0) & (index < len(self))

    @torch.no_grad()
    def move(self, index: Tensor, gradient: Tensor, rate: float | Tensor) -> None:
        """One step of Adam (Kingma & Ba 2015) of the rows `index`, each of which occurs once."""
        taken = self.taken[index] + 1
        gradient = gradient.to(self.numbers.dtype)
        first = torch.lerp(gradient, self.first[index], BETAS[0])
        second = torch.lerp(gradient.square(), self.second[index], BETAS[1])
        size = (second / (1 - BETAS[1] ** taken).unsqueeze(-1)).sqrt() + EPS
        step = first / (1 - BETAS[0] ** taken).unsqueeze(-1) / size
        self.numbers[index] -= rate * step
        self.first[index], self.second[index], self.taken[index] = first, second, taken
