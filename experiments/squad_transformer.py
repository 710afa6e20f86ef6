"""SQuAD 1.1, answers as spans of a paragraph, with a Transformer encoder from scratch; by network.

The test split of SQuAD is not public: the score is that of its validation split.
"""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '10 epochs'
    c.batch = 64
    c.eval_batch = 128
    c.buckets = (192, 256, 320)
    c.data = bind(sources.Tfds, name='squad/v1.1', valid='5%', test='validation')
    c.prepare = "bpe(16000, 384, ('question', 'context'), offsets=True) | pair(448) | span"
    c.model = bind(
        models.TransformerEncoder,
        classes=2,
        pool='none',
        vocabulary=16_000,
        width=512,
        heads=8,
        layers=6,
        positions='rotary',
        dropout=0.1,
    )
    c.task = bind(tasks.qa)
    c.optim = bind(optim.make, name='adamw', lr=0.0003, decay='cosine', warmup='5%', clip=1.0)
    return c
