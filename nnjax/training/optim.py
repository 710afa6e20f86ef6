"""Any optimizer of optax by name, rebuilt inside the compiled step from traced numbers.

So learning rates, decays and coefficients are data: a sweep over them compiles once. The structure
of the optimizer's state follows from names, None-or-not, booleans and integers, never from floats.
"""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
import optax.contrib

from nnjax import duration
from nnjax.errors import UserError, nearest, unknown
from nnjax.fields import BelowOne, Duration, Fraction, NonNegative, Positive
from nnjax.training import groups as grouping
from nnjax.training import paths, schedule
from nnjax.training.groups import Group, group  # noqa: F401 - configs name optim.group
from nnjax.training.paths import Tree
from nnjax.training.schedule import Scalar

BIASES_AND_NORMS = r'(^|/)(bias|scale)$'

# What optax's optimizers call the strength of their own weight decay, and its mask.
_WEIGHT_DECAY = ('weight_decay', 'weight_decay_rate')
_MASK = ('mask', 'weight_decay_mask')

# Optimizers that a step which knows only gradients and parameters cannot serve.
_UNFIT = {
    'dpsgd': 'it needs the gradient of every example',
    'lbfgs': 'it needs the loss as a function',
    'momo': 'it needs the value of the loss',
    'momo_adam': 'it needs the value of the loss',
    'schedule_free_adamw': 'it evaluates other parameters than it trains',
    'schedule_free_sgd': 'it evaluates other parameters than it trains',
    'sophia': 'it needs the loss as a function',
}


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Pure functions; `step` counts the updates done, `total` is the steps of the run.

    Attributes:
      init: params -> opt_state.
      lr: (step, total) -> the base learning rate under its schedule, a float32 scalar.
      update: (grads, opt_state, params, step, total) -> (updates, opt_state), for
        `optax.apply_updates`.
    """

    init: Callable[[Tree], Tree]
    lr: Callable[[Scalar, Scalar], jax.Array]
    update: Callable[[Tree, Tree, Tree, Scalar, Scalar], tuple[Tree, Tree]]


def make(
    name: str = 'sgd',
    lr: NonNegative = 0.01,
    decay: schedule.Decay = 'constant',
    warmup: Duration = '0 steps',
    final: Fraction = 0.0,
    boundaries: tuple[Fraction, ...] = (0.5, 0.75),
    drop: Fraction = 0.1,
    peak: Fraction = 0.3,
    momentum: BelowOne | None = None,
    nesterov: bool | None = None,
    b1: BelowOne | None = None,
    b2: BelowOne | None = None,
    eps: Positive | None = None,
    weight_decay: NonNegative = 0.0,
    decay_exclude: str = BIASES_AND_NORMS,
    clip: Positive | None = None,
    groups: dict[str, Group] = {},  # noqa: B006
    options: dict[str, Any] = {},  # noqa: B006
) -> Optimizer:
    """An optimizer of optax or optax.contrib with schedule, weight decay, clipping and groups.

    Gradients are clipped first, by their norm over all parameters. Weight decay is the optimizer's
    own where that takes a mask (decoupled in adamw, lamb, lion, muon; muon's is for matrices only,
    adafactor's is not multiplied by lr). Everywhere else it is the gradient of an L2 penalty,
    weight_decay * parameter, as in PyTorch's SGD and Adam.

    Args:
      name: optax.NAME or optax.contrib.NAME (sgd, adam, adamw, rmsprop, adagrad, lamb, lion, muon)
      lr: base learning rate
      decay: schedule of the learning rate after the warmup
      warmup: length of the linear warmup
      final: fraction of lr at the end of the decay; no decay falls below it
      boundaries: fractions of the run at which decay 'step' drops
      drop: factor of decay 'step' at each boundary
      peak: fraction of the steps after warmup at which decay 'one_cycle' is highest
      momentum: of sgd, rmsprop, lars, sm3; None is optax's default here and in the next four
      nesterov: look-ahead momentum
      b1: decay of the first moment
      b2: decay of the second moment
      eps: term in the denominator
      weight_decay: strength of the weight decay
      decay_exclude: regular expression of parameter paths without weight decay; '' decays all
      clip: largest global norm of the gradients
      groups: settings for some parameters, name by name, each bind(optim.group, match=...)
      options: the optimizer's other arguments in optax

    Raises:
      UserError: an unknown name, or an argument that the optimizer does not take; in `init` and
        `update`, a group that matches no parameter or another group's.
    """
    alias = _alias(name)
    fields = dict(momentum=momentum, nesterov=nesterov, b1=b1, b2=b2, eps=eps)
    arguments = _arguments(name, alias, fields, options)
    _check_groups(groups)
    excluded = paths.regex('decay_exclude', decay_exclude) if decay_exclude else None
    warmup = _steps(warmup)

    def factor(step: Scalar, total: Scalar) -> jax.Array:
        return schedule.factor(
            decay, step, total, warmup, final, boundaries=boundaries, drop=drop, peak=peak
        )

    def decayed(tree: Tree) -> Tree:
        return paths.map_paths(lambda p: not (excluded and excluded.search(p)), tree)

    def transformation(labels: Tree, multiplier: Scalar) -> optax.GradientTransformation:
        def settings(own_lr=None, own_decay=None):
            rate = lr if own_lr is None else own_lr
            strength = weight_decay if own_decay is None else own_decay
            return _decaying(alias, arguments, rate * multiplier, strength, decayed)

        if not groups:
            return settings()
        members = {grouping.label(n): settings(g.lr, g.weight_decay) for n, g in groups.items()}
        return optax.partition({grouping.REST: settings(), **members}, labels)

    def init(params: Tree) -> Tree:
        with _optax_dtypes():
            return transformation(grouping.labels(groups, params), 1.0).init(params)

    def update(grads: Tree, opt_state: Tree, params: Tree, step: Scalar, total: Scalar):
        labels = grouping.labels(groups, params)
        multiplier = factor(step, total)
        with _optax_dtypes():
            if clip is not None:
                grads = optax.clip_by_global_norm(clip).update(grads, optax.EmptyState())[0]
            return transformation(labels, multiplier).update(grads, opt_state, params)

    try:
        alias(lr, **arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f'optimizer {name!r}: {str(error).splitlines()[0]}') from error
    return Optimizer(init, lambda step, total: lr * factor(step, total), update)


def _decaying(alias: Callable, arguments: dict, lr: Scalar, weight_decay: Scalar, mask: Callable):
    """The optimizer with weight decay where `mask(params)` is true: its own, or else L2."""
    own, own_mask = _own_decay(alias)
    if own_mask:
        return alias(lr, **arguments, **{own: weight_decay, own_mask: mask})
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), alias(lr, **arguments))


def _own_decay(alias: Callable) -> tuple[str | None, str | None]:
    """The names of the optimizer's arguments for weight decay and its mask: both or none."""
    takes = inspect.signature(alias).parameters
    strength, mask = (
        next((n for n in names if n in takes), None) for names in (_WEIGHT_DECAY, _MASK)
    )
    return (strength, mask) if strength and mask else (None, None)


def _optax_dtypes():
    """optax raises floats to integer powers, which strict dtype promotion refuses."""
    return jax.numpy_dtype_promotion('standard')


@functools.cache
def _aliases() -> dict[str, Callable]:
    """Name -> function of every optimizer of optax: whatever is made from a learning rate."""
    return {
        name: value
        for module in (optax.contrib, optax)  # optax's own win
        for name, value in vars(module).items()
        if isinstance(value, (types.FunctionType, functools.partial))
        and next(iter(inspect.signature(value).parameters), '') == 'learning_rate'
        and not name.startswith(('_', 'scale_by_'))
    }


def _alias(name: str) -> Callable:
    if name in _UNFIT:
        raise UserError(f'optimizer {name!r} does not fit the training step: {_UNFIT[name]}')
    aliases = {n: alias for n, alias in _aliases().items() if n not in _UNFIT}
    if name not in aliases:
        raise unknown('optimizer', name, aliases)
    return aliases[name]


def _arguments(name: str, alias: Callable, fields: Mapping, options: Mapping) -> dict[str, Any]:
    """The fields that are set, and the options; both must be arguments of the optimizer."""
    takes = inspect.signature(alias).parameters
    given = {n: v for n, v in fields.items() if v is not None}
    own = [n for n in takes if n in fields]
    free = [n for n in takes if n not in {'learning_rate', *own, *_own_decay(alias)}]
    for kind, names, allowed in (('', given, own), ('option ', options, free)):
        for argument in names:
            if argument not in allowed:
                raise UserError(
                    f'optimizer {name!r} takes no {kind}{argument!r}{nearest(argument, allowed)} '
                    f'(fields: {", ".join(own) or "none"}; options: {", ".join(free) or "none"})'
                )
    unset = 'momentum' in own and takes['momentum'].default is None and 'momentum' not in given
    if given.get('nesterov') and unset:
        raise UserError(f'nesterov=True of optimizer {name!r} needs momentum, e.g. momentum=0.9')
    return {**given, **options}


def _check_groups(groups: Mapping[str, Group]) -> None:
    for name, own in groups.items():
        if not isinstance(own, Group):
            raise UserError(f'groups[{name!r}]={own!r}: expected bind(optim.group, match=...)')


def _steps(warmup: Scalar | str) -> Scalar:
    """A config hands on a number of steps; text comes only from a direct call of `make`."""
    if not isinstance(warmup, str):
        return warmup
    number, unit = duration.parse(warmup)
    if unit != 'step':
        raise UserError(f"warmup={warmup!r}: outside a config, give steps, such as '100 steps'")
    return number
