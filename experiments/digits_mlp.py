"""Handwritten digits, 8x8 pixels, with a multilayer perceptron 64-256-10."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.sweep import product, seeds
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '250 epochs'
    c.data = bind(sources.Tfds, name='digits')
    c.prepare = 'scale(16)'
    c.augment = 'rotate(10) | noise(0.1)'
    c.model = bind(models.MLP, hidden=(256,), dropout=0.2)
    c.task = bind(tasks.classification, smoothing=0.1)
    c.optim = bind(optim.make, name='adam', lr=0.003, decay='cosine')
    return c


def sweep():
    return seeds(product({'optim.lr': (0.001, 0.003, 0.01), 'task.smoothing': (0.0, 0.1)}), 3)
