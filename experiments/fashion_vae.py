"""Fashion-MNIST, generated: a convolutional variational autoencoder."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '15 epochs'
    c.batch = 128
    c.data = bind(sources.Tfds, name='fashion_mnist', valid='5000')
    c.prepare = 'scale'
    c.model = bind(models.VAE, code=16, hidden=(256,), channels=(32, 64))
    c.task = bind(tasks.vae)
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine')
    return c
