"""Twenty synthetic command words, voices held out, with VGG-11 at a quarter of its width."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '18 epochs'
    c.data = bind(sources.Tfds, name='espeak_commands', valid='valid')
    c.augment = (
        'speed(0.85, 1.15) | time_shift(800) | log_mel(40, hop=200) | cmvn(deviation=False) '
        '| spec_augment(2, 8, 2, 4) | picture'
    )
    c.model = bind(
        models.VGG, classes=20, depth=11, width=0.25, norm='batch', head='average', dropout=0.2
    )
    c.task = bind(tasks.classification, input='audio', smoothing=0.1)
    c.optim = bind(
        optim.make, name='adamw', lr=0.002, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.ema = 0.995
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
