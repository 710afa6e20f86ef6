"""Recorded telephone prompts of one talker, to letters: convolutions, LSTMs both ways and CTC."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '150 epochs'
    c.batch = 16
    c.buckets = (16000, 28000)
    c.data = bind(sources.Tfds, name='asterisk_prompts', valid='valid')
    c.prepare = 'transcript(length=96)'
    c.augment = (
        'speed(0.85, 1.15) | gain | log_mel(40, rate=8000, window=200, hop=64, fft=256) '
        '| cmvn | spec_augment(2, 15, 2, 6)'
    )
    c.model = bind(models.ConvRNN, hidden=128, layers=2, width=128, dropout=0.3)
    c.task = bind(tasks.ctc, decoder='beam')
    c.optim = bind(
        optim.make, name='adamw', lr=0.002, decay='cosine', warmup='5%', weight_decay=0.02, clip=1.0
    )
    c.best = 'min error'
    return c
