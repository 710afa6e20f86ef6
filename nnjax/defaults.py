"""The fields of a run, beside its sections: their types, defaults and meaning."""

from typing import Any

from nnjax import schema
from nnjax.fields import BelowOne, Count, Duration, Operations, Seed


def run(
    *,
    seed: Seed = 0,
    total: Duration = '10 epochs',
    batch: Count = 64,
    eval_batch: Count = 500,
    prepare: Operations = '',
    augment: Operations = '',
    tta: Operations = '',
    tta_views: Count = 8,
    accumulate: Count = 1,
    ema: BelowOne | None = None,
    init_from: str | None = None,
    init_fresh: str | None = None,
    freeze: str | None = None,
    group: Count = 1,
    buckets: tuple[Count, ...] = (),
    pack: bool = False,
    precision: schema.Precision = 'float32',
    parallel: schema.Parallel = 'auto',
    devices: Count | None = None,
    log_every: Duration = '2%',
    eval_every: Duration = '5%',
    score_every: Duration | None = None,
    save_every: Duration = '10%',
    keep: Count = 2,
    best: str = 'min loss',
    patience: Duration | None = None,
    smoke: bool = False,
) -> dict[str, Any]:
    """The fields of a run; its sections `data`, `model`, `task`, `optim` are made by `bind`.

    Args:
      seed: everything random is a function of (seed, step)
      total: length of training
      batch: examples in a training step, over all devices and microbatches
      eval_batch: examples in an evaluation step
      prepare: operations on the host, once, on every split (nnjax.data.prepare)
      augment: operations on the device, in the training step (nnjax.data.augment)
      tta: operations that make the views of a test-time augmentation; scores and predictions are
        then of the mean prediction, loss and metrics during training remain of the example itself
      tta_views: views of an example, the first of which is the example itself
      accumulate: microbatches in a step; the update equals the large batch's
      ema: decay of an exponential moving average of the parameters, which is then evaluated
      init_from: start from the best parameters of this run folder, or from a .safetensors file
        with arrays named 'params/Conv_0/kernel', or 'experiment:NAME', which is trained first, with
        the same seed, into the folder 'first' of the run folder; a head for other classes starts afresh, and what
        `prepare` learned in that run, such as a vocabulary, holds here where `prepare` is the same
      init_fresh: regular expression of paths, such as 'Dense_1', that init_from need not fit: fresh
        here, left out there
      freeze: regular expression of paths, such as 'Conv_0/kernel', of parameters that do not train;
        batch statistics follow the data all the same
      group: examples of a class that stand side by side in a training batch, for losses over pairs
      buckets: lengths such as (16, 32): a batch holds sequences of one bucket, cut to its length;
        each is compiled once
      pack: put several sequences into one training row, one after another
      precision: of activations and gradients in the model; parameters stay float32
      parallel: one device (jit), data parallel (pmap), sharded parameters (fsdp); auto picks
      devices: how many of this machine's devices, or of each process's, to use; None is all
      log_every: time between two lines of training metrics
      eval_every: time between two evaluations on the validation split
      score_every: time between two predictions of the whole validation split, whose scores (BLEU, AP,
        word error rate ...) are then in the curves and may mark the best; None: only at the end
      save_every: time between two checkpoints
      keep: latest checkpoints to keep, besides the best
      best: the validation metric or score that marks the best checkpoint, 'min NAME' or 'max NAME'
      patience: stop when the best metric has not improved for this long
      smoke: two steps on a tiny slice, to see that everything fits together
    """
    return dict(locals())
