"""Progress of diabetes from ten measurements: 442 patients, of whom a fifth are held out."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '60 epochs'
    c.batch = 32
    # So few patients are all needed to learn from: none choose the step; the last one counts.
    c.data = bind(sources.Tfds, name='diabetes', test='20%', valid=None)
    c.prepare = 'standardize("features") | target'
    c.model = bind(models.TabularMLP, hidden=(32,))
    c.task = bind(tasks.regression)
    c.optim = bind(optim.make, name='adamw', lr=0.003, decay='cosine', weight_decay=1.0)
    return c
