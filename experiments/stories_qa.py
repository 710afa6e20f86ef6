"""Questions about short stories, answered by a span of the story, with a Transformer."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '30 epochs'
    c.batch = 128
    c.buckets = (48, 64, 96)
    c.data = bind(sources.Tfds, name='stories', valid='valid')
    c.prepare = "words(128, 160, ('question', 'context'), offsets=True) | pair(176) | span"
    c.model = bind(
        models.TransformerEncoder, classes=2, pool='none', vocabulary=128, width=128, layers=3
    )
    c.task = bind(tasks.qa, longest=4)
    c.optim = bind(optim.make, name='adam', lr=0.001, decay='cosine', warmup='10%')
    c.best = 'max accuracy'
    return c
