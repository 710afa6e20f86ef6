"""Handwritten digits, 8x8 pixels, generated: a dense variational autoencoder."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '200 epochs'
    c.data = bind(sources.Tfds, name='digits')
    c.prepare = 'scale(16)'
    c.model = bind(models.VAE, shape=(8, 8, 1), code=8, hidden=(256, 128))
    c.task = bind(tasks.vae)
    c.optim = bind(optim.make, name='adam', lr=0.002, decay='cosine')
    return c
