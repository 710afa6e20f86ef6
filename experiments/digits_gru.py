"""Handwritten digits, 8x8 pixels read row by row from both ends, with a GRU."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '100 epochs'
    c.batch = 64
    c.data = bind(sources.Tfds, name='digits')
    c.prepare = 'scale(16)'
    c.augment = 'rotate(10) | translate(1) | noise(0.05)'
    c.model = bind(models.RNN, cell='gru', hidden=128, bidirectional=True, dropout=0.2)
    c.task = bind(tasks.classification, smoothing=0.1)
    c.optim = bind(optim.make, name='adam', lr=0.003, decay='cosine')
    c.ema = 0.99
    return c
