"""WMT 2014, English to German, with the Transformer base (Vaswani et al., 2017); by network."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '100000 steps'
    c.batch = 768
    c.eval_batch = 128
    c.precision = 'bfloat16'
    c.buckets = (16, 32, 48, 64, 96)
    c.data = bind(sources.Tfds, name='wmt14_translate/de-en', valid='validation')
    c.prepare = "bpe(37000, 128, ('en', 'de'), begin=True, end=True)"
    c.model = bind(
        models.Transformer,
        vocabulary=37_000,
        width=512,
        heads=8,
        layers=6,
        activation='relu',
        order='post',
        dropout=0.1,
    )
    c.task = bind(tasks.translation, source='en', target='de', smoothing=0.1, longest=128)
    c.optim = bind(optim.make, name='adam', lr=0.0007, decay='cosine', warmup='4000 steps', b2=0.98)
    c.eval_every = '5000 steps'
    return c
