"""Fashion-MNIST: are two images of one class, of classes that were never seen in training?"""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '4 epochs'
    c.batch = 128
    clothes = bind(sources.Tfds, name='fashion_mnist', valid=None)
    c.data = bind(sources.Identities, data=clothes, valid='2', test='3')
    c.prepare = 'scale'
    c.augment = 'pad_crop(2) | flip'
    cnn = bind(models.CNN, channels=(32, 64, 128), padding='SAME', classes=64)
    c.model = bind(models.Embedder, backbone=cnn)
    c.task = bind(tasks.verification, loss='contrastive', scale=5.0)
    c.optim = bind(
        optim.make, name='adamw', lr=0.001, decay='cosine', warmup='5%', weight_decay=0.05
    )
    c.best = 'max ranking'
    c.eval_every = '10%'
    return c
