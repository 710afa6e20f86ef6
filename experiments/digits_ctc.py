"""Connected digits of synthetic speech, voices held out: convolutions over time, CTC by words."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '32 epochs'
    c.batch = 32
    c.buckets = (10000, 16000, 22000)
    c.data = bind(sources.Tfds, name='espeak_digits', valid='valid')
    c.prepare = "words(14, length=8, over='refuse')"
    c.augment = (
        'speed(0.8, 1.25) | echo(0.05, 0.25, 0.6, 0.6, rate=8000) '
        '| log_mel(40, rate=8000, window=200, hop=64, fft=256) | cmvn(deviation=False) '
        '| spec_augment(2, 12, 2, 8)'
    )
    c.model = bind(
        models.TimeCNN, vocabulary=14, width=192, blocks=6, window=9, steps=3, dropout=0.15
    )
    c.task = bind(tasks.ctc)
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05, clip=1.0
    )
    c.best = 'min error'
    c.eval_every = '1 epoch'
    return c
