"""Bible verses, King James to Reina-Valera, with a small Transformer."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '15 epochs'
    c.batch = 64
    c.precision = 'bfloat16'
    c.eval_batch = 100
    c.buckets = (24, 32, 48, 64)
    c.data = bind(sources.Tfds, name='verses_en_es', valid='valid')
    c.prepare = "bpe(4000, 96, ('source', 'target'), begin=True, end=True)"
    c.model = bind(
        models.Transformer,
        vocabulary=4000,
        width=192,
        heads=4,
        layers=2,
        dropout=0.2,
    )
    c.task = bind(tasks.translation, smoothing=0.1, longest=96)
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine', warmup='5%', clip=1.0)
    c.eval_every, c.score_every = '1 epoch', '3 epochs'
    c.best = 'max bleu'
    return c
