"""Speech Commands v2, ten words, silence and the rest: separable convolutions; by network."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '60 epochs'
    c.batch = 128
    # A second, and a tenth to be moved in.
    c.data = bind(sources.Tfds, name='speech_commands', valid='validation', length=17600)
    c.augment = (
        'time_shift(1600) | add_noise(0, 30, probability=0.5) | log_mel(40) '
        '| cmvn(deviation=False) | spec_augment(2, 12, 2, 6)'
    )
    c.model = bind(models.SeparableCNN, classes=12, channels=(96, 96, 144, 144, 192, 192))
    c.task = bind(tasks.classification, input='audio', smoothing=0.1)
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
