"""Parameters in files that travel: safetensors in PyTorch's names or in nnjax's own."""

from nnjax.weights.variables import describe, load, save

__all__ = ['describe', 'load', 'save']
