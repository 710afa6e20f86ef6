"""MNIST with a CNN, convolutions 32-64-128, on turned, moved and scaled digits."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '20 epochs'
    c.batch = 128
    c.data = bind(sources.Tfds, name='mnist', valid='5000')
    c.prepare = 'scale'
    c.augment = 'affine(10, 0.1, (0.9, 1.1), 5)'
    c.model = bind(models.CNN, channels=(32, 64, 128), padding='SAME', dropout=0.3)
    c.task = bind(tasks.classification, smoothing=0.1)
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.eval_every = '1 epoch'
    return c
