"""Labeled Faces in the Wild: are two photographs of one person that was never seen in training?

Split by person, all pairs of the test split: not the 6,000 pairs of the published protocol.
"""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '40 epochs'
    c.batch = 128
    c.precision = 'bfloat16'
    people = bind(sources.Tfds, name='lfw', valid=None, test=None, size=112)
    c.data = bind(sources.Identities, data=people, valid='5%', test='10%')
    c.prepare = 'scale'
    c.augment = 'flip | affine(5, 0.05, (0.95, 1.05), 0) | color_jitter(0.2, 0.2, 0.2, 0)'
    c.model = bind(
        models.Embedder, backbone=bind(models.ResNet, depth=18, classes=256), classes=4887
    )
    c.task = bind(tasks.verification, loss='arcface', margin=0.5, scale=32.0)
    c.optim = bind(
        optim.make, name='adamw', lr=0.001, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.best = 'max ranking'
    c.eval_every = '2 epochs'
    return c
