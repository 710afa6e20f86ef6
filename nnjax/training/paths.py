"""Trees by path: every leaf has a name such as 'Dense_0/kernel', which regular expressions search."""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from nnjax.errors import UserError

Tree = Any


def flatten(tree: Tree) -> dict[str, Any]:
    """A tree -> {'Dense_0/kernel': leaf}."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def map_paths(function: Callable[[str], Any], tree: Tree) -> Tree:
    """Each leaf replaced by the function of its path."""
    return jax.tree_util.tree_map_with_path(lambda path, _: function(_name(path)), tree)


def replaced(tree: Tree, leaves: Mapping[str, Any]) -> Tree:
    """The tree with the leaves of these paths in place of its own."""
    return jax.tree_util.tree_map_with_path(lambda path, own: leaves.get(_name(path), own), tree)


def size(tree: Tree) -> int:
    """Entries of all leaves, arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def regex(field: str, pattern: str) -> re.Pattern:
    """The compiled pattern, or a UserError naming the field."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f'{field}={pattern!r} is no regular expression: {error}') from None


def nearest(pattern: str, names: Iterable[str]) -> str:
    """'nearest: Dense_0/bias, Dense_0/kernel', for the error that no path matches."""
    return f'nearest: {", ".join(difflib.get_close_matches(pattern, list(names), n=3, cutoff=0))}'


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator='/')
