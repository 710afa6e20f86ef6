"""The King James Bible, character by character, with an LSTM."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '7 epochs'
    c.batch = 8
    c.eval_batch = 128
    c.data = bind(sources.Text, name='kjv', length=512)
    c.prepare = 'characters(128, length=513)'
    c.model = bind(
        models.RNN,
        classes=128,
        cell='lstm',
        vocabulary=128,
        embedding=64,
        hidden=384,
        pool='none',
        dropout=0.2,
    )
    c.task = bind(tasks.language_model)
    c.optim = bind(optim.make, name='adam', lr=0.003, decay='cosine', warmup='2%', clip=1.0)
    return c
