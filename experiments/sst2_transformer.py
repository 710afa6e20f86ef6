"""Phrases of film reviews, good or bad (SST-2 of GLUE), with a Transformer encoder; by network.

The labels of GLUE's test split are not public: the score is that of its validation split, and a
twentieth of train is validation here.
"""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '6 epochs'
    c.batch = 128
    c.buckets = (8, 16, 32)
    c.data = bind(sources.Tfds, name='glue/sst2', valid='5%', test='validation')
    c.prepare = "words(15000, 64, 'sentence')"
    c.model = bind(
        models.TransformerEncoder,
        classes=2,
        vocabulary=15_000,
        width=256,
        heads=4,
        layers=2,
        dropout=0.3,
    )
    c.task = bind(tasks.classification, input='sentence', smoothing=0.1)
    c.optim = bind(optim.make, name='adamw', lr=0.0003, decay='cosine', warmup='5%', clip=1.0)
    return c
