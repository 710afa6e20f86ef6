"""AG's news in four classes, with a Transformer encoder; a set that comes by network."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '6 epochs'
    c.batch = 128
    c.buckets = (32, 48, 64)
    c.data = bind(sources.Tfds, name='ag_news_subset')
    c.prepare = "lower('description') | words(30000, 96, 'description')"
    c.model = bind(
        models.TransformerEncoder,
        classes=4,
        vocabulary=30_000,
        width=256,
        heads=4,
        layers=2,
        dropout=0.2,
    )
    c.task = bind(tasks.classification, input='description', smoothing=0.1)
    c.optim = bind(optim.make, name='adamw', lr=0.0005, decay='cosine', warmup='5%', clip=1.0)
    return c
