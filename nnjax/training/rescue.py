"""What is kept where data cannot be read in the middle of a run."""

import contextlib
from collections.abc import Iterator
from typing import Any

from nnjax.errors import Diverged, Interrupted, UserError
from nnjax.training import hosts


@contextlib.contextmanager
def saving(run: Any) -> Iterator[None]:
    """Around reading: saves a run, or a sweep's lanes, before what is wrong with the data is raised.

    Of several processes only the one that reads it knows, and none can save alone.

    Raises:
      UserError: the body's, with the step that was saved.
      Diverged: the loss is not finite either.
    """
    try:
        yield
    except (Diverged, Interrupted):  # the data can be read
        raise
    except UserError as error:
        if not run.step or hosts.many() or not run.save():
            raise
        raise UserError(
            f'{error}; step {run.step} is saved: the same command goes on from there, '
            'with --force where data or config have changed'
        ) from error
