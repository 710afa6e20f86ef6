"""CIFAR-10 with ResNet-20, as He et al. (2016) trained it: section 4.2, 64,000 steps of 128."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '64000 steps'
    c.batch = 128
    c.data = bind(sources.Tfds, name='cifar10', valid='5000')
    c.prepare = 'standardize'
    c.augment = 'pad_crop(4) | flip'
    c.model = bind(models.CifarResNet, depth=20)
    c.task = bind(tasks.classification)
    c.optim = bind(
        optim.make,
        name='sgd',
        lr=0.1,
        momentum=0.9,
        decay='step',
        boundaries=(0.5, 0.75),
        drop=0.1,
        weight_decay=0.0001,
        decay_exclude='',
    )
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
