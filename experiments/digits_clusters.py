"""Handwritten digits in ten clusters, without labels: the codes of `digits_autoencoder`, gathered."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '30 epochs'
    c.init_from = 'experiment:digits_autoencoder'
    c.init_fresh = '^(centres|share|scale)$'
    # Nothing is chosen while it trains: the last step counts, and every example can be learned from.
    c.data = bind(sources.Tfds, name='digits', valid=None)
    c.prepare = 'scale(16)'
    c.augment = 'keep | rotate(15) | translate(1)'
    c.model = bind(
        models.Clusters, shape=(8, 8, 1), code=10, hidden=(256, 128), noise=0.2, centres_each=5
    )
    c.task = bind(tasks.clustering, start='neighbours')
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine')
    return c
