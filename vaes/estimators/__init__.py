"""scikit-learn's faces over the same engine: `base.py` is what they share, one file for each."""

from vaes.estimators.clusterer import VAEClusterer
from vaes.estimators.detector import VAEDetector
from vaes.estimators.imputer import VAEImputer
from vaes.estimators.sampler import VAESampler
from vaes.estimators.vae import VAE

__all__ = ["VAE", "VAEClusterer", "VAEDetector", "VAEImputer", "VAESampler"]
