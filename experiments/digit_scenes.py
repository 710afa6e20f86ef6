"""Generated scenes of real digits: which digits are where in 64x64 pixels, with VGG-11."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '5 epochs'
    c.batch = 64
    c.data = bind(sources.Tfds, name='digit_scenes', valid='validation')
    c.prepare = 'scale'
    c.augment = 'translate(4)'
    c.model = bind(
        models.Detector,
        backbone=bind(models.VGG, depth=11, width=0.25, norm='batch'),
        stride=4,
        channels=64,
    )
    c.task = bind(tasks.detection, most=20)  # scenes hold four at most
    c.optim = bind(
        optim.make, name='adamw', lr=0.003, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.ema = 0.998
    c.eval_every = '1 epoch'
    return c
