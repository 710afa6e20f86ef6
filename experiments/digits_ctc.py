"""Connected digits of synthetic speech, voices held out: convolutions over time and CTC, by letters."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '12 epochs'
    c.batch = 32
    c.buckets = (10000, 16000)
    c.data = bind(sources.Tfds, name='espeak_digits', valid='valid')
    c.prepare = 'transcript(length=40, stride=256)'
    c.augment = 'log_mel(40, rate=8000, window=200, hop=64, fft=256) | cmvn(deviation=False) | spec_augment(2, 12, 2, 6)'
    c.model = bind(models.TimeCNN, width=128, blocks=6, window=11, steps=2, dropout=0.1)
    c.task = bind(tasks.ctc)
    c.optim = bind(
        optim.make, name='adamw', lr=0.002, decay='cosine', warmup='5%', weight_decay=0.01, clip=1.0
    )
    c.best = 'min error'
    c.eval_every = '1 epoch'
    return c
