"""Sixty recordings of eight words, yes or no in Hebrew, to English letters; by network."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '100 epochs'
    c.batch = 8
    c.data = bind(sources.Tfds, name='yes_no', valid='10%', test='20%', length=80000)
    c.prepare = "transcript(' enosy', length=32, field='label')"
    c.augment = (
        'speed | gain | log_mel(40, rate=8000, window=200, hop=64, fft=256) | cmvn(deviation=False)'
        ' | spec_augment(2, 12, 2, 6)'
    )
    c.model = bind(models.TimeCNN, vocabulary=10, width=96, blocks=4)
    c.task = bind(tasks.ctc, label='label')
    c.optim = bind(optim.make, name='adamw', lr=0.002, decay='cosine', warmup='5%', clip=1.0)
    c.best = 'min error'
    return c
