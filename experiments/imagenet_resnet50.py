"""ImageNet with ResNet-50 at 224x224: Goyal et al. (2017), a batch of 1,024 for 90 epochs.

Not the paper's crops: images come scaled and cut to a square of 224, of which training takes random
boxes and evaluation all; the paper's boxes are of the whole image, and it evaluates on the central
224 of 256.
"""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '90 epochs'
    c.batch = 1024
    c.precision = 'bfloat16'
    c.data = bind(sources.Tfds, name='imagenet2012', valid='10000', test='validation', size=224)
    c.prepare = 'scale'
    c.augment = (
        'random_resized_crop | flip | normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))'
    )
    c.model = bind(models.ResNet, classes=1000, depth=50, zero_init=True)
    c.task = bind(tasks.classification)
    c.optim = bind(
        optim.make,
        name='sgd',
        lr=0.4,  # 0.1 for every 256 images
        momentum=0.9,
        decay='step',
        warmup='5 epochs',
        boundaries=(30 / 90, 60 / 90, 80 / 90),
        drop=0.1,
        weight_decay=0.0001,
    )
    c.best = 'max accuracy'
    c.eval_every = '1 epoch'
    return c
