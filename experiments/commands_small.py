"""Twenty synthetic command words, voices held out: separable convolutions, a small network."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '20 epochs'
    c.data = bind(sources.Tfds, name='espeak_commands', valid='valid')
    c.augment = (
        'speed(0.85, 1.15) | time_shift(800) | log_mel(40, hop=200) | cmvn(deviation=False) '
        '| spec_augment(1, 8, 1, 4)'
    )
    c.model = bind(models.SeparableCNN, classes=20)
    c.task = bind(tasks.classification, input='audio', smoothing=0.1)
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
