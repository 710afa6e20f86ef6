"""Twenty synthetic command words, voices held out, with a multilayer perceptron on log-mel bands."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '25 epochs'
    c.data = bind(sources.Tfds, name='espeak_commands', valid='valid')
    c.augment = (
        'log_mel(40, hop=320) | centered(40) | cmvn(deviation=False) | spec_augment(2, 6, 1, 6)'
    )
    c.model = bind(models.MLP, classes=20, hidden=(512,), dropout=0.3)
    c.task = bind(tasks.classification, input='audio', smoothing=0.1)
    c.optim = bind(optim.make, name='adamw', lr=0.001, decay='cosine', weight_decay=0.05)
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
