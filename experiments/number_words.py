"""Numbers in words, English to German, letter by letter, with a Transformer."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '20 epochs'
    c.batch = 128
    c.buckets = (32, 40)
    c.data = bind(sources.Tfds, name='number_words', valid='valid')
    c.prepare = "characters(64, 60, 'source') | characters(64, 48, 'target', begin=True, end=True)"
    c.model = bind(
        models.Transformer, vocabulary=64, target_vocabulary=64, width=128, layers=2, dropout=0.1
    )
    c.task = bind(tasks.translation, search='greedy')
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine', warmup='5%')
    c.ema = 0.999
    return c
