"""TensorBoard events beside metrics.jsonl, where the extra is installed."""

from collections.abc import Callable
from pathlib import Path

from nnjax.errors import UserError


def writer(folder: Path) -> Callable[[dict], None]:
    """Run folder -> a function that writes one record's numbers as scalars 'split/name'.

    Raises:
      UserError: tensorboardX is not installed.
    """
    require()
    from tensorboardX import SummaryWriter

    events = SummaryWriter(str(folder / 'tensorboard'))

    def write(record: dict) -> None:
        for name, value in record.items():
            if isinstance(value, float):
                events.add_scalar(f'{record["split"]}/{name}', value, record['step'])
        events.flush()

    return write


def require() -> None:
    """Raises UserError, naming the extra, where tensorboardX is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise UserError(
            "--tensorboard needs tensorboardX: pip install 'nnjax[tensorboard]'"
        ) from None
