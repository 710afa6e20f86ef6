"""Parameters by path: which group of the optimizer's settings each belongs to."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax

from nnjax.errors import UserError
from nnjax.fields import NonNegative
from nnjax.training.schedule import Scalar

Tree = Any

REST = 'rest'  # the label of parameters in no group


@dataclasses.dataclass(frozen=True)
class Group:
    """Settings of the parameters whose path the regular expression `match` finds; see `group`."""

    match: str
    lr: Scalar | None
    weight_decay: Scalar | None
    freeze: bool


def group(
    match: str,
    lr: NonNegative | None = None,
    weight_decay: NonNegative | None = None,
    freeze: bool = False,
) -> Group:
    """Settings of their own for some parameters; None is the optimizer's.

    Args:
      match: regular expression, searched in parameter paths such as 'Dense_1/kernel'
      lr: base learning rate, which the schedule multiplies
      weight_decay: weight decay; decay_exclude still holds
      freeze: leave these parameters as they are
    """
    regex('match', match)
    if freeze and (lr is not None or weight_decay is not None):
        raise UserError(f'group {match!r}: frozen parameters take neither lr nor weight_decay')
    return Group(match, lr, weight_decay, freeze)


def label(name: str) -> str:
    """A group's name -> its label, which `REST` never equals."""
    return f'group_{name}'


def labels(groups: Mapping[str, Group], params: Tree) -> Tree:
    """Every parameter's label, in a tree like params.

    Raises:
      UserError: a group that matches no parameter, or one that another group has matched.
    """
    paths = jax.tree.leaves(map_paths(str, params))
    owner: dict[str, str] = {}
    for name, own in groups.items():
        found = [path for path in paths if re.search(own.match, path)]
        if not found:
            close = difflib.get_close_matches(own.match, paths, n=3, cutoff=0)
            raise UserError(
                f'group {name!r}: no parameter matches {own.match!r} (nearest: {", ".join(close)})'
            )
        for path in found:
            if path in owner:
                other = owner[path]
                raise UserError(
                    f'groups {other!r} ({groups[other].match!r}) and {name!r} ({own.match!r}) '
                    f'both match {path!r}; a parameter has one group'
                )
            owner[path] = name
    return map_paths(lambda path: label(owner[path]) if path in owner else REST, params)


def map_paths(function: Callable[[str], Any], tree: Tree) -> Tree:
    """Each leaf replaced by the function of its path, such as 'Dense_0/bias'."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: function(jax.tree_util.keystr(path, simple=True, separator='/')), tree
    )


def regex(field: str, pattern: str) -> re.Pattern:
    """The compiled pattern, or a UserError naming the field."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f'{field}={pattern!r} is no regular expression: {error}') from None
