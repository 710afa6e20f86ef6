"""Models by name: `bind(models.CNN, channels=(32, 64))`."""

from nnjax.models.cnn import CNN
from nnjax.models.mlp import MLP

__all__ = ['CNN', 'MLP']
