"""Generated opinions, good or bad, whose negations and turns need the order of words, with a GRU."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '20 epochs'
    c.batch = 64
    c.data = bind(sources.Tfds, name='opinions', valid='valid')
    c.prepare = 'words(80, length=24)'
    c.model = bind(
        models.RNN,
        classes=2,
        cell='gru',
        vocabulary=80,
        embedding=32,
        hidden=64,
        bidirectional=True,
        pool='max',
        dropout=0.2,
    )
    c.task = bind(tasks.classification, input='text')
    c.optim = bind(optim.make, name='adam', lr=0.003, decay='cosine')
    return c
