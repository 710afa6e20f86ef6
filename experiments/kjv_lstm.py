"""The King James Bible, character by character, with an LSTM; its last twentieth is test."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '6 epochs'
    c.batch = 32
    c.eval_batch = 64
    c.data = bind(sources.Text, name='kjv', length=128)
    c.prepare = 'characters(80, length=129)'
    c.model = bind(
        models.RNN,
        classes=80,
        cell='lstm',
        vocabulary=80,
        embedding=64,
        hidden=512,
        pool='none',
    )
    c.task = bind(tasks.language_model)
    c.optim = bind(optim.make, name='adam', lr=0.002, decay='cosine', warmup='2%', clip=1.0)
    c.eval_every = '1 epoch'
    return c
