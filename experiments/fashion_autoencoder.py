"""Fashion-MNIST through 32 numbers: a convolutional autoencoder that sees half of the patches."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '10 epochs'
    c.batch = 128
    c.data = bind(sources.Tfds, name='fashion_mnist', valid='5000')
    c.prepare = 'scale'
    c.model = bind(models.Autoencoder, code=32, hidden=(256,), channels=(32, 64), mask=0.5, patch=4)
    c.task = bind(tasks.reconstruction)
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine')
    return c
