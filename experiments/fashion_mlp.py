"""Fashion-MNIST with a multilayer perceptron 784-64-10: SGD 0.01, batch 64, 10 epochs."""

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
    c.model = bind(models.MLP, hidden=(64,), classes=10)
    c.task = bind(tasks.classification)
    c.optim = bind(optim.make, name='sgd', lr=0.01)
    c.eval_every = '1 epoch'
    return c
