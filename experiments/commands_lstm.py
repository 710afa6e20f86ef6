"""Twenty synthetic command words, voices held out: LSTMs both ways over log-mel frames."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '20 epochs'
    c.data = bind(sources.Tfds, name='espeak_commands', valid='valid')
    c.augment = (
        'time_shift(800) | log_mel(40, hop=320) | cmvn(deviation=False) | spec_augment(1, 6, 1, 4)'
    )
    c.model = bind(
        models.RNN, classes=20, hidden=128, layers=2, bidirectional=True, pool='max', dropout=0.2
    )
    c.task = bind(tasks.classification, input='audio', smoothing=0.1)
    c.optim = bind(
        optim.make,
        name='adamw',
        lr=0.002,
        decay='cosine',
        warmup='5%',
        weight_decay=0.05,
        clip=1.0,
    )
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
