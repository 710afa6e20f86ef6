"""Fashion-MNIST with ResNet-20."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '6 epochs'
    c.batch = 128
    c.precision = 'bfloat16'
    c.data = bind(sources.Tfds, name='fashion_mnist', valid='5000')
    c.prepare = 'scale'
    c.augment = 'pad_crop(2) | flip'
    c.model = bind(models.CifarResNet, depth=20)
    c.task = bind(tasks.classification, smoothing=0.1)
    c.optim = bind(
        optim.make,
        name='sgd',
        lr=0.1,
        momentum=0.9,
        nesterov=True,
        decay='cosine',
        warmup='5%',
        weight_decay=0.0005,
    )
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
