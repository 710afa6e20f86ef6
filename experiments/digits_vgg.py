"""Handwritten digits, 8x8 pixels, with VGG-11 at a quarter of its width."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '200 epochs'
    c.batch = 64
    c.data = bind(sources.Tfds, name='digits')
    c.prepare = 'scale(16)'
    c.augment = 'rotate(10) | translate(1) | noise(0.1)'
    c.model = bind(models.VGG, depth=11, width=0.25, norm='batch', head='average', dropout=0.2)
    c.task = bind(tasks.classification, smoothing=0.1)
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.best = 'max accuracy'
    return c
