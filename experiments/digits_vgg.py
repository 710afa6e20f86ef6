"""Handwritten digits, enlarged to 16x16 pixels, with VGG-11 at a quarter of its width."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '100 epochs'
    c.batch = 64
    c.data = bind(sources.Tfds, name='digits')
    c.prepare = 'resize(16, 16) | scale(16)'
    c.augment = 'affine(12, 0.1, (0.85, 1.15), 10) | noise(0.05) | mixup(0.2)'
    c.model = bind(models.VGG, depth=11, width=0.25, norm='batch', head='average', dropout=0.2)
    c.task = bind(tasks.classification, smoothing=0.1)
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.ema = 0.99
    return c
