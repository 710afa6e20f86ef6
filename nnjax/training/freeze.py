"""Which parameters train: gradients, norms, updates and optimizer state exist for those alone."""

from collections.abc import Mapping

from nnjax.errors import UserError
from nnjax.training import paths
from nnjax.training.paths import Tree


def trained(pattern: str | None, params: Tree) -> Tree:
    """Parameters -> those that train: {path: leaf} of what `pattern` does not match; None: all.

    Raises:
      UserError: no regular expression, or one that matches no parameter, or every one.
    """
    if pattern is None:
        return params
    frozen, leaves = paths.regex('freeze', pattern), paths.flatten(params)
    rest = {name: leaf for name, leaf in leaves.items() if not frozen.search(name)}
    if not rest:
        raise UserError(f'freeze={pattern!r} matches every parameter: nothing would train')
    if len(rest) == len(leaves):
        raise UserError(
            f'freeze={pattern!r} matches no parameter ({paths.nearest(pattern, leaves)})'
        )
    return rest


def whole(pattern: str | None, params: Tree, values: Tree | Mapping) -> Tree:
    """All parameters, with `values` of those that train: `trained` undone."""
    return values if pattern is None else paths.replaced(params, values)
