"""CIFAR-100 with ResNet-56: Nesterov's momentum, a cosine, 200 epochs."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '200 epochs'
    c.batch = 256
    c.data = bind(sources.Tfds, name='cifar100', valid='5000')
    c.prepare = 'standardize'
    c.augment = 'pad_crop(4) | flip'
    c.model = bind(models.CifarResNet, classes=100, depth=56, shortcut='project')
    c.task = bind(tasks.classification)
    c.optim = bind(
        optim.make,
        name='sgd',
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        decay='cosine',
        weight_decay=0.0005,
        decay_exclude='',
    )
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
