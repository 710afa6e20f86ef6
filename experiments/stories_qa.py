"""Questions about short stories, answered by a span of the story, with GRUs both ways."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '8 epochs'
    c.batch = 32
    c.buckets = (32, 48, 72, 112)
    c.data = bind(sources.Tfds, name='stories', valid='valid')
    c.prepare = "words(128, 160, ('question', 'context'), offsets=True) | pair(176) | span"
    c.model = bind(
        models.RNN,
        classes=2,
        cell='gru',
        hidden=64,
        layers=2,
        bidirectional=True,
        pool='none',
        vocabulary=128,
        asked=True,
    )
    c.task = bind(tasks.qa, longest=4)
    c.optim = bind(optim.make, name='adam', lr=0.003, decay='cosine', warmup='2%', clip=1.0)
    c.best = 'max accuracy'
    return c
