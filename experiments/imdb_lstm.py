"""IMDB's reviews of films, good or bad, with an LSTM; a set that comes by network."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '6 epochs'
    c.batch = 64
    c.eval_batch = 250
    c.buckets = (128, 192, 256, 320)
    c.data = bind(sources.Tfds, name='imdb_reviews/plain_text')
    c.prepare = 'lower | words(20000, length=400)'
    c.model = bind(
        models.RNN,
        classes=2,
        cell='lstm',
        vocabulary=20_000,
        embedding=128,
        hidden=128,
        bidirectional=True,
        pool='max',
        dropout=0.5,
    )
    c.task = bind(tasks.classification, input='text')
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine', warmup='5%', clip=1.0)
    return c
