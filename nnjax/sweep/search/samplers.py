"""Who suggests and who prunes: Optuna's samplers and pruners, as functions of seed and storage."""

import math
from collections.abc import Callable

import numpy as np
from optuna import pruners, samplers
from optuna.trial import FrozenTrial


class Seeded(samplers.BaseSampler):
    """Another sampler, made afresh for every question, of the seed (seed, trial, field).

    So what is suggested follows from the storage and these, not from what a process asked before.
    """

    def __init__(self, make: Callable[[int], samplers.BaseSampler], seed: int):
        self._make, self._seed = make, seed

    def _of(self, trial: FrozenTrial, field: str = '') -> samplers.BaseSampler:
        entropy = np.random.SeedSequence([self._seed, trial.number, *field.encode()])
        return self._make(int(entropy.generate_state(1)[0]))

    def infer_relative_search_space(self, study, trial):
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):
        field = self._of(trial, param_name)
        return field.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study, trial, state, values):
        self._of(trial).after_trial(study, trial, state, values)


def sampler(name: str, seed: int, batch: int, fields: int) -> Seeded:
    """'tpe', 'cmaes', 'random' or 'nsga2' for batches of so many, in a space of so many fields."""
    usual = 4 + int(3 * math.log(fields))  # Hansen, 2016, arXiv 1604.00772
    makers = {
        # Those still running count as bad, so that a batch spreads out.
        'tpe': lambda seed: samplers.TPESampler(seed=seed, constant_liar=True),
        'cmaes': lambda seed: samplers.CmaEsSampler(
            seed=seed, popsize=max(batch, usual), warn_independent_sampling=False
        ),
        'random': lambda seed: samplers.RandomSampler(seed=seed),
        'nsga2': lambda seed: samplers.NSGAIISampler(seed=seed, population_size=max(batch, 8)),
    }
    return Seeded(makers[name], seed)


def pruner(name: str, first: int, keep: int) -> pruners.BasePruner:
    """'halving' (one of `keep` goes on), 'median' or 'none', not before validation `first`."""
    if name == 'halving':
        return pruners.SuccessiveHalvingPruner(first, keep)
    if name == 'median':
        return pruners.MedianPruner(n_warmup_steps=first)
    return pruners.NopPruner()
