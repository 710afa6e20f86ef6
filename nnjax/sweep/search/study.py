"""Optuna's half of a search: a study in its storage."""

import json
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from nnjax.errors import UserError
from nnjax.sweep.points import Distribution
from nnjax.sweep.search import Axis
from nnjax.sweep.search import storage as storages


class Study:
    """A study as one of its workers sees it."""

    def __init__(
        self,
        storage: str | None,
        name: str,
        worker: str,
        alone: bool,
        space: Mapping[str, Axis],
        directions: Sequence[str],
        terms: Mapping[str, Any],
        sampler: optuna.samplers.BaseSampler,
        pruner: optuna.pruners.BasePruner,
    ):
        """Opens the study, or makes it.

        Args:
          storage: a database's URL; None keeps it in memory.
          name: the study's in the storage.
          worker: this one's name, by which it finds its trials again.
          alone: whether the storage has no other worker.
          space: {config path: a distribution, or values to choose from}.
          directions: 'min' or 'max' of each objective.
          terms: JSON values on which all workers must agree.
          sampler, pruner: Optuna's.

        Raises:
          UserError: the storage cannot be used, or the study there has other terms.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._worker, self._alone, self._space = worker, alone, space
        self._open: dict[int, Trial] = {}
        self._past: dict[int, FrozenTrial] = {}  # what a killed process has left of them
        self._study = optuna.create_study(
            storage=storages.opened(storage),
            study_name=name,
            directions=[{'min': 'minimize', 'max': 'maximize'}[d] for d in directions],
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )
        self._agree(name, json.loads(json.dumps(terms)))

    def _agree(self, name: str, terms: dict[str, Any]) -> None:
        count = self.count()  # in this order: every worker agrees before it asks
        saved = self._study.user_attrs.get('nnjax')
        if saved is None and not count:
            self._study.set_user_attr('nnjax', terms)
            saved = terms
        for term, value in terms.items():
            if saved is None or saved.get(term) != value:
                what = f'has another {term}' if saved else "is not nnjax's"
                difference = f': {_difference(saved.get(term), value)}' if saved else ''
                raise UserError(
                    f'the study {name!r} in this storage {what}{difference}; '
                    'name a new one with --study=NAME'
                )

    def ask(self, trials: int) -> tuple[int, dict[str, Any]] | None:
        """The next trial's number and its values, None where the study has all its trials."""
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if self.count() >= trials and not any(t.number < trials for t in waiting):
            return None
        trial = self._study.ask()
        trial.set_user_attr('worker', self._worker)
        if trial.number >= trials:  # another worker was faster
            self._study.tell(trial, state=TrialState.FAIL)
            return None
        return trial.number, self._suggest(trial)

    def mine(self, known: Container[int]) -> list[tuple[int, dict[str, Any]]]:
        """This worker's running trials beside the known ones: a kill came before they were noted.

        A trial without a worker's name can only be told from another's where there is no other.
        """
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        names = (self._worker, None) if self._alone else (self._worker,)
        mine = [t for t in running if t.user_attrs.get('worker') in names]
        return [(t.number, self._suggest(self._trial(t))) for t in mine if t.number not in known]

    def _trial(self, frozen: FrozenTrial) -> Trial:
        """A trial that another process, or an earlier one, has begun."""
        return Trial(self._study, frozen._trial_id)

    def _suggest(self, trial: Trial) -> dict[str, Any]:
        """A value for each field; those the storage has already stay."""
        self._open[trial.number] = trial
        return {path: _suggest(trial, path, axis) for path, axis in self._space.items()}

    def count(self) -> int:
        """How many trials the study has, of all workers."""
        return len(self._study.get_trials(deepcopy=False))

    def ended(self) -> set[int]:
        """The trials that have come to an end."""
        return {t.number for t in self._study.get_trials(deepcopy=False) if t.state.is_finished()}

    def keeps(self, number: int, value: float, at: int) -> bool:
        """Whether a trial goes on after its validation `at`, where its metric was `value`.

        What was decided before a kill stays decided.
        """
        if number not in self._open:
            self._past[number] = frozen = self._study.get_trials()[number]
            self._open[number] = self._trial(frozen)
        past = self._past.get(number)
        last = -1 if past is None or past.last_step is None else past.last_step
        if past is not None and past.state == TrialState.PRUNED:
            return at < last
        if at < last:
            return True
        trial = self._open[number]
        if at > last:
            trial.report(value, at)
        if trial.should_prune():
            self._study.tell(number, state=TrialState.PRUNED)
            return False
        return True

    def tell(self, number: int, values: Sequence[float] | None, attributes: Mapping) -> None:
        """Ends a trial, with attributes, by values or as pruned, unless it has ended."""
        frozen = self._study.get_trials(deepcopy=False)[number]
        if frozen.state.is_finished():
            return
        for name, value in attributes.items():
            self._trial(frozen).set_user_attr(name, value)
        state = TrialState.PRUNED if values is None else TrialState.COMPLETE
        self._study.tell(number, values, state=state)
        self._open.pop(number, None)

    def front(self) -> dict[int, list[float]]:
        """{trial: values} of the trials that no other beats in every objective."""
        return {t.number: t.values for t in self._study.best_trials}


def _suggest(trial: Trial, path: str, axis: Axis) -> Any:
    if not isinstance(axis, Distribution):
        labels = [_label(value) for value in axis]
        return axis[labels.index(trial.suggest_categorical(path, labels))]
    if axis.kind == 'integer':
        return trial.suggest_int(path, int(axis.low), int(axis.high))
    return trial.suggest_float(path, axis.low, axis.high, log=axis.kind == 'log')


def _label(value: Any) -> Any:
    """A value as Optuna keeps it: a tuple as text."""
    return repr(value) if isinstance(value, tuple) else value


def _difference(saved: Any, now: Any) -> str:
    """What differs between two JSON values, for a person: 'optim.lr: 0.1 -> 0.2'."""
    if not (isinstance(saved, dict) and isinstance(now, dict)):
        return f'{saved} -> {now}'
    different = [n for n in {**saved, **now} if saved.get(n) != now.get(n)]
    parts = [
        f'{n}.{_difference(saved[n], now[n])}'
        if isinstance(saved.get(n), dict) and isinstance(now.get(n), dict)
        else f'{n}: {saved.get(n)} -> {now.get(n)}'
        for n in different[:3]
    ]
    return '; '.join(parts)
