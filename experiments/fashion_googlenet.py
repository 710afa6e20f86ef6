"""Fashion-MNIST with GoogLeNet at a quarter of its width."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '3 epochs'
    c.batch = 128
    c.precision = 'bfloat16'
    c.data = bind(sources.Tfds, name='fashion_mnist', valid='5000')
    c.prepare = 'scale'
    c.augment = 'flip'
    c.model = bind(models.GoogLeNet, width=0.25, stem='small')
    c.task = bind(tasks.classification, smoothing=0.1)
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.best = 'max accuracy'
    return c
