"""The flags of `nnjax sweep --search`."""

import typing
from typing import Any

from absl import flags

from nnjax.errors import UserError
from nnjax.sweep import search

OWN = ('sampler', 'trials', 'batch', 'objective', 'prune', 'storage', 'study')
OTHERS = ('points', 'halving', 'population', 'workers', 'share')  # of sweeps without a search


def define(values: flags.FlagValues) -> None:
    usual = search.Search()
    flags.DEFINE_enum(
        'search', None, ['optuna'], 'who chooses the points, batch after batch', flag_values=values
    )
    flags.DEFINE_enum(
        'sampler', usual.sampler, typing.get_args(search.Sampler), 'of --search', flag_values=values
    )
    flags.DEFINE_integer(
        'trials', usual.trials, 'of --search, by all its workers', flag_values=values, lower_bound=1
    )
    flags.DEFINE_integer(
        'batch',
        None,
        'trials of --search side by side; default 8, or the next multiple of the devices',
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_multi_string(
        'objective',
        [],
        "'max accuracy' ... of --search: a validation metric, or 'min parameters'; several are "
        "possible, the first ranks; default the config's best",
        flag_values=values,
    )
    flags.DEFINE_enum(
        'prune',
        usual.prune,
        typing.get_args(search.Prune),
        'drop the worse trials of --search, after --rung at the earliest',
        flag_values=values,
    )
    flags.DEFINE_string(
        'storage',
        None,
        "a database's URL, e.g. sqlite:///search.db; default optuna.db in the sweep folder",
        flag_values=values,
    )
    flags.DEFINE_string(
        'study', None, "its name in the storage; default the experiment's", flag_values=values
    )


def given(values: Any) -> search.Search | None:
    """The flags -> how to search, None without --search.

    Raises:
      UserError: flags that do not go together.
    """
    if not values.search:
        for name in OWN:
            if values[name].present:
                raise UserError(f'--{name} needs --search=optuna')
        return None
    for name in OTHERS:
        if values[name].present:
            raise UserError(f'--{name} does not go with --search; it takes --trials and --prune')
    if values.runner == 'processes':
        raise UserError(
            '--runner=processes does not go with --search; start the command several times, with '
            'one --storage and a --workdir each'
        )
    return search.Search(
        trials=values.trials,
        sampler=values.sampler,
        batch=values.batch,
        prune=values.prune,
        rung=values.rung,
        objectives=tuple(values.objective),
        seeds=values.seeds,
        storage=values.storage,
        study=values.study,
    )
