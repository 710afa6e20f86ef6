"""WordNet's glosses of nouns into 25 classes, such as animal or feeling, with an LSTM."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '6 epochs'
    c.batch = 64
    c.eval_batch = 256
    c.buckets = (8, 16, 24)
    c.data = bind(sources.Tfds, name='wordnet_glosses', valid='5%')
    c.prepare = 'lower | words(20000, length=40)'
    c.model = bind(
        models.RNN,
        classes=25,
        cell='lstm',
        vocabulary=20_000,
        embedding=128,
        hidden=128,
        bidirectional=True,
        pool='max',
        dropout=0.5,
    )
    c.task = bind(tasks.classification, input='text', smoothing=0.1)
    c.optim = bind(optim.make, name='adam', lr=0.002, decay='cosine', warmup='5%')
    c.best = 'max accuracy'
    return c
