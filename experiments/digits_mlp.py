"""Handwritten digits, 8x8 pixels, with a multilayer perceptron 64-64-10."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '60 epochs'
    c.batch = 64
    c.data = bind(sources.Tfds, name='digits')
    c.prepare = 'scale(16)'
    c.model = bind(models.MLP, hidden=(64,), classes=10)
    c.task = bind(tasks.classification)
    c.optim = bind(optim.make, name='adam', lr=0.003, decay='cosine')
    return c
