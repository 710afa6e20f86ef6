"""Numbers in words, English to German, with pairs of digits that training never meets."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '40 epochs'
    c.batch = 128
    c.data = bind(sources.Tfds, name='number_words', valid='valid')
    c.prepare = "words(40, 12, 'source') | characters(32, 46, 'target', begin=True, end=True)"
    c.model = bind(
        models.Transformer,
        vocabulary=40,
        target_vocabulary=32,
        width=128,
        heads=4,
        layers=2,
        dropout=0.1,
    )
    c.task = bind(tasks.translation, search='greedy', longest=46)
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine', warmup='10%')
    c.eval_every = '5 epochs'
    return c
