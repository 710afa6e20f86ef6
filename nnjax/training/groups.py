"""Parameters by path: which group of the optimizer's settings each belongs to."""

import dataclasses
import re
from collections.abc import Mapping

from nnjax.errors import UserError
from nnjax.fields import NonNegative
from nnjax.training import paths
from nnjax.training.paths import Tree
from nnjax.training.schedule import Scalar

REST = 'rest'  # the label of parameters in no group


@dataclasses.dataclass(frozen=True)
class Group:
    """Settings of the parameters whose path the regular expression `match` finds; see `group`."""

    match: str
    lr: Scalar | None
    weight_decay: Scalar | None


def group(
    match: str, lr: NonNegative | None = None, weight_decay: NonNegative | None = None
) -> Group:
    """Settings of their own for some parameters; None is the optimizer's.

    Args:
      match: regular expression, searched in parameter paths such as 'Dense_1/kernel'
      lr: base learning rate, which the schedule multiplies
      weight_decay: weight decay; decay_exclude still holds
    """
    paths.regex('match', match)
    return Group(match, lr, weight_decay)


def label(name: str) -> str:
    """A group's name -> its label, which `REST` never equals."""
    return f'group_{name}'


def labels(groups: Mapping[str, Group], params: Tree) -> Tree:
    """Every parameter's label, in a tree like params.

    Raises:
      UserError: a group that matches no parameter, or one that another group has matched.
    """
    names = list(paths.flatten(params))
    owner: dict[str, str] = {}
    for name, own in groups.items():
        found = [path for path in names if re.search(own.match, path)]
        if not found:
            raise UserError(
                f'group {name!r}: no parameter that trains matches {own.match!r} '
                f'({paths.nearest(own.match, names)})'
            )
        for path in found:
            if path in owner:
                other = owner[path]
                raise UserError(
                    f'groups {other!r} ({groups[other].match!r}) and {name!r} ({own.match!r}) '
                    f'both match {path!r}; a parameter has one group'
                )
            owner[path] = name
    return paths.map_paths(lambda path: label(owner[path]) if path in owner else REST, params)
