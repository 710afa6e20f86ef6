"""Fashion-MNIST read row by row with two layers of LSTM."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '10 epochs'
    c.batch = 64
    c.data = bind(sources.Tfds, name='fashion_mnist', valid='5000')
    c.prepare = 'scale'
    c.augment = 'flip'
    c.model = bind(models.RNN, cell='lstm', hidden=128, layers=2, dropout=0.2)
    c.task = bind(tasks.classification)
    c.optim = bind(optim.make, name='adam', lr=0.002, decay='cosine', clip=1.0)
    c.eval_every = '1 epoch'
    return c
