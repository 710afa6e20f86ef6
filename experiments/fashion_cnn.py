"""Fashion-MNIST with a CNN, convolutions 32-64-128: Adam, batch 32, 10 epochs."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '10 epochs'
    c.batch = 32
    c.data = bind(sources.Tfds, name='fashion_mnist', valid='5000')
    c.prepare = 'scale'
    c.augment = 'flip'
    c.model = bind(models.CNN, channels=(32, 64, 128), padding='SAME', dense=(128,), dropout=0.3)
    c.task = bind(tasks.classification)
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine')
    c.eval_every = '1 epoch'
    return c
