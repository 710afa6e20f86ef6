"""Handwritten digits, 8x8 pixels, turned, moved and noisy, made whole again through ten numbers."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '200 epochs'
    c.data = bind(sources.Tfds, name='digits')
    c.prepare = 'scale(16)'
    c.augment = 'keep | rotate(15) | translate(1)'
    c.model = bind(models.Autoencoder, shape=(8, 8, 1), code=10, hidden=(256, 128), noise=0.2)
    c.task = bind(tasks.reconstruction)
    c.optim = bind(optim.make, name='adam', lr=0.002, decay='cosine')
    return c
