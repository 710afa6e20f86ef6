"""Questions about generated stories, whose sentences in test are of templates that training lacks."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '40 epochs'
    c.batch = 64
    c.eval_batch = 200
    c.buckets = (64, 80, 96, 112)
    c.data = bind(sources.Tfds, name='stories', valid='valid')
    c.prepare = "words(64, 180, ('question', 'context'), offsets=True) | pair(192) | span"
    c.model = bind(
        models.TransformerEncoder,
        classes=2,
        pool='none',
        vocabulary=64,
        width=128,
        heads=4,
        layers=4,
        positions='rotary',
        dropout=0.1,
    )
    c.task = bind(tasks.qa, longest=1)
    c.optim = bind(optim.make, name='adam', lr=0.0005, decay='cosine', warmup='5%', clip=1.0)
    c.eval_every = '5 epochs'
    return c
