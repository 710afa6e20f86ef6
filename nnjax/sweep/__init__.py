"""Many runs of one experiment as one program: `sweep()` beside `get_config()` says which."""

from nnjax.sweep.points import chain, integer, log, product, random, seeds, uniform, zip_

__all__ = ['chain', 'integer', 'log', 'product', 'random', 'seeds', 'uniform', 'zip_']
