from nnjax.models.mlp import MLP
