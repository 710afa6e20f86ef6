"""Fashion-MNIST with VGG-13 at half of its width; scores are of an image and its mirror image."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '20 epochs'
    c.batch = 128
    c.precision = 'bfloat16'
    c.data = bind(sources.Tfds, name='fashion_mnist', valid='5000')
    c.prepare = 'scale'
    c.augment = 'pad_crop(2) | flip | cutout(8)'
    c.tta = 'flip(1)'
    c.tta_views = 2
    c.model = bind(models.VGG, depth=13, width=0.5, norm='batch', head='average', dropout=0.2)
    c.task = bind(tasks.classification, smoothing=0.1)
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
