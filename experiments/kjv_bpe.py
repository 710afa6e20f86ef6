"""The King James Bible by parts of words, with an LSTM; its score is in bits a character too."""

from nnjax import models, tasks
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.training import optim


def get_config(arg=''):
    c = base(arg)
    c.total = '8 epochs'
    c.batch = 8
    c.eval_batch = 128
    c.data = bind(sources.Text, name='kjv', length=1024)
    c.prepare = "bpe(2000, 512, begin=True, over='refuse')"
    c.buckets = (272, 296, 320, 512)
    c.model = bind(
        models.RNN,
        classes=2000,
        cell='lstm',
        vocabulary=2000,
        embedding=256,
        hidden=384,
        pool='none',
        dropout=0.3,
    )
    c.task = bind(tasks.language_model)
    c.optim = bind(optim.make, name='adam', lr=0.002, decay='cosine', warmup='2%', clip=1.0)
    return c
