"""Variational autoencoders for data of your own: trained fast, measured honestly, put to use.

Names are imported when they are first used: `import vaes` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vaes.batch import Batch, Data, Spec
    from vaes.errors import VaesError
    from vaes.estimators import VAE, VAEClusterer, VAEDetector, VAEImputer, VAESampler
    from vaes.model import Model, Player, Step
    from vaes.run import Run, load
    from vaes.training import resume, train

_HOMES = {
    "VAE": "estimators",
    "VAEClusterer": "estimators",
    "VAEDetector": "estimators",
    "VAEImputer": "estimators",
    "VAESampler": "estimators",
    "Batch": "batch",
    "Data": "batch",
    "Spec": "batch",
    "Model": "model",
    "Player": "model",
    "Step": "model",
    "Run": "run",
    "load": "run",
    "resume": "training",
    "train": "training",
    "VaesError": "errors",
}
__all__ = [
    "VAE",
    "Batch",
    "Data",
    "Model",
    "Player",
    "Run",
    "Spec",
    "Step",
    "VAEClusterer",
    "VAEDetector",
    "VAEImputer",
    "VAESampler",
    "VaesError",
    "load",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vaes' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"vaes.{_HOMES[name]}"), name)
