"""Fashion-MNIST in codes without labels: what `fashion_clusters` gathers.

The codes are learned by contrast (Chen et al., SimCLR, 2020): an image and the same cut, mirrored
and lit otherwise are near, other images far. The decoder shows what they hold.
"""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '5 epochs'
    c.batch = 256
    # Nothing is chosen while it trains: the last step counts, and every example can be learned from.
    c.data = bind(sources.Tfds, name='fashion_mnist', valid=None)
    c.prepare = 'scale'
    c.augment = 'keep | random_resized_crop((0.5, 1)) | flip | color_jitter'
    c.model = bind(models.Autoencoder, code=64, channels=(32, 64, 128))
    c.task = bind(tasks.contrast)
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine')
    return c
