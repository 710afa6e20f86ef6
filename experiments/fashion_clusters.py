"""Fashion-MNIST in ten clusters, without labels: the codes of `fashion_codes`, gathered."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '1 epoch'
    c.batch = 256
    c.init_from = 'experiment:fashion_codes'
    c.init_fresh = '^(centres|share|scale)$'
    c.data = bind(sources.Tfds, name='fashion_mnist', valid=None)
    c.prepare = 'scale'
    # N2D's setting on other codes: 20 neighbours, ten numbers, a mixture; nothing trains the codes
    # further, and the many centres are what assigns new examples to its clusters.
    c.model = bind(models.Clusters, code=64, channels=(32, 64, 128), centres_each=100)
    c.freeze = '^(encoder|decoder)/'
    c.task = bind(tasks.clustering, start='manifold')
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine')
    return c
