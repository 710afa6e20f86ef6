"""Fashion-MNIST through ten numbers: the dense autoencoder whose codes `fashion_clusters` gathers."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '30 epochs'
    c.batch = 256
    # Nothing is chosen while it trains: the last step counts, and every example can be learned from.
    c.data = bind(sources.Tfds, name='fashion_mnist', valid=None)
    c.prepare = 'scale'
    c.model = bind(models.Autoencoder, code=10, hidden=(500, 250))
    c.task = bind(tasks.reconstruction)
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine')
    return c
