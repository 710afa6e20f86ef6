"""Imports run one way: cli, report, analysis -> sweep -> training -> build -> models | tasks | data -> ops.

The room weights stands beside them: cli | training -> weights -> models.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'nnjax'

# What each room may import of nnjax. Every room may import itself and the leaves.
LEAVES = {'errors', 'fields', 'duration', 'cache', 'texts', 'readable', 'machine'}
ALLOWED = {
    'ops': set(),
    'models': {'ops'},
    'tasks': {'ops'},
    'data': {'schema', 'ops'},
    'schema': set(),
    'defaults': {'schema'},
    'config': {'schema', 'defaults'},
    'build': {'schema', 'config'},
    'weights': {'models'},
    'training': {'schema', 'config', 'build', 'models', 'tasks', 'data', 'ops', 'weights'},
    'sweep': {'training', 'build', 'config', 'schema', 'data'},
    'report': {'ops', 'sweep', 'analysis'},
    'analysis': {'training', 'build', 'config', 'schema', 'data', 'ops', 'sweep'},
    'cli': {
        'training',
        'report',
        'analysis',
        'sweep',
        'config',
        'data',
        'models',
        'tasks',
        'ops',
        'weights',
    },
    '__init__': {'training', 'config'},
    '__main__': {'cli'},
}
MODULES = sorted(PACKAGE.rglob('*.py'))


def imports(path: Path) -> set[str]:
    """The rooms of nnjax that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == 'nnjax':
            names = [f'nnjax.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or '']
        else:
            continue
        found |= {name.split('.')[1] for name in names if name.startswith('nnjax.')}
    return found


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix('.py')


@pytest.mark.parametrize('path', MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    extra = imports(path) - ALLOWED.get(room(path), set()) - LEAVES - {room(path)}
    assert not extra, f'{path.relative_to(PACKAGE)} may not import {sorted(extra)}'


def names_used(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}


def test_pmap_and_shardings_have_one_home():
    users = {p.name for p in MODULES if names_used(p) & {'pmap', 'shard_map'}}
    assert users == {'parallel.py'}


def test_collectives_have_one_home():
    users = {p.name for p in MODULES if names_used(p) & {'psum', 'pmean', 'all_gather'}}
    assert users == {'step.py', 'normalize.py', 'shard.py'}  # averages, statistics, pairs


def test_tensorflow_is_never_imported():
    for path in MODULES:
        roots = {
            name.split('.')[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or '']
            )
        }
        assert 'tensorflow' not in roots, path


def test_modules_are_small():
    long = {
        str(p.relative_to(PACKAGE)): n
        for p in MODULES
        if (n := len(p.read_text().splitlines())) > 300
    }
    assert not long
