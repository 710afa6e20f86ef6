"""What a model of codes makes: reconstructions, samples, walks, and a map of the codes."""

import numpy as np

from nnjax.report import diagrams, pictures, scatter
from nnjax.report.cards import Card, Section
from nnjax.report.folder import Run
from nnjax.report.svg import Markup, join, tag

MOST = 30  # clusters or classes whose table is drawn
CENTRES = 6  # of a cluster that are drawn, at most
CELL = 56  # pixels of the page across a picture, about


def sections(run: Run) -> list[Section]:
    """The run's codes and pictures; none if its task has none."""
    found, cards = run.predictions, []
    for title, names, note in (
        (
            'Reconstructions',
            ('images', 'reconstructions'),
            'Above: examples. Below: what came back.',
        ),
        (
            'Restored',
            ('images', 'seen', 'restored'),
            'From above: examples, what the encoder saw of them, what came back.',
        ),
    ):
        rows = [found.get(f'gallery_{name}') for name in names]
        if all(row is not None and row.ndim == 4 for row in rows):
            cards.append(Card(title, grid(np.stack(rows)), '', note, True))
    samples = found.get('gallery_samples')
    if samples is not None and samples.ndim == 4:
        rows = samples.reshape(-1, 16, *samples.shape[1:]) if len(samples) % 16 == 0 else [samples]
        cards.append(Card('Samples', grid(np.stack(rows)), '', 'Decoded from random codes.', True))
    walks = found.get('gallery_walks')
    if walks is not None and walks.ndim == 5:
        note = "Each row goes straight from one example's code to another's."
        cards.append(Card('Walks', grid(walks), '', note))
    centres = found.get('gallery_centres')
    if centres is not None and centres.ndim == 5:
        shown = centres.swapaxes(0, 1)[:CENTRES]
        note = (
            f"What {len(shown)} of {centres.shape[1]} centres decode to; a column is a cluster's."
        )
        cards.append(Card('Centres', grid(shown), '', note))
    if (card := matches(run)) is not None:
        cards.append(card)
    if (code := found.get('code')) is not None and code.ndim == 2 and len(code) > 2:
        cards.append(plane(run, code))
    return [Section('codes', 'Codes', tuple(cards))] if cards else []


def grid(images: np.ndarray) -> Markup:
    """Images [rows, columns, H, W, C], float or uint8 -> one picture of them all."""
    rows, columns, high, wide, channels = images.shape
    shown = pictures.pixels(np.clip(images, 0, 1).reshape(-1, high, wide, channels))
    room = np.full((len(shown), high + 1, wide + 1, shown.shape[-1]), 127, np.uint8)
    room[:, :high, :wide] = shown
    room = room.reshape(rows, columns, high + 1, wide + 1, -1).transpose(0, 2, 1, 3, 4)
    sheet = room.reshape(rows * (high + 1), columns * (wide + 1), -1)
    return tag(
        'img',
        class_='pixels',
        style=f'max-width:{columns * CELL}px',
        src=pictures.data_uri(sheet, 4000),
        alt=f'{rows} rows of {columns} pictures',
    )


def matches(run: Run) -> Card | None:
    """Classes by clusters, each class's row with the cluster that fits it best on the diagonal."""
    from scipy.optimize import linear_sum_assignment

    clusters, label = run.predictions.get('cluster'), _classes(run)
    if clusters is None or label is None or clusters.shape != label.shape or not len(label):
        return None
    assignment = run.predictions.get('assignment')
    count = assignment.shape[-1] if assignment is not None else int(clusters.max()) + 1
    size = max(count, int(label.max()) + 1)
    if size > MOST or label.min() < 0:
        return None
    counts = np.zeros((size, size), int)
    np.add.at(counts, (label, clusters), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    right = counts[rows, columns].sum() / counts.sum()
    names = [name_of(run, n) for n in range(size)]
    body = diagrams.confusion(counts[:, columns].tolist(), names)
    note = 'Columns are clusters, each under the class that it fits best.'
    return Card('Clusters and classes', body, f'{right:.1%} on the diagonal', note)


def plane(run: Run, code: np.ndarray) -> Card:
    """The codes in two dimensions, the first two principal components of more, by class."""
    kept = np.isfinite(code).all(1)
    code = code[kept].astype(np.float64)
    names, share = ('first number', 'second number'), ''
    if code.shape[1] > 2:
        centred = code - code.mean(0)
        _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
        code = centred @ axes[:2].T
        part = float(np.square(sizes[:2]).sum() / max(np.square(sizes).sum(), 1e-30))
        names, share = ('first component', 'second component'), f'{part:.0%} of the variance'
    label = _classes(run)
    classes = label[kept] if label is not None and label.shape == kept.shape else None
    if code.shape[1] < 2:
        code = np.c_[code, np.zeros(len(code)) if classes is None else classes]
    body = scatter.points(code[:, 0], code[:, 1], names, classes)
    if classes is not None:
        body = join([body, legend(run, classes)])
    return Card('Map', body, share)


def legend(run: Run, classes: np.ndarray) -> Markup:
    """The classes' names beside their colours."""
    entries = [
        tag('span', tag('span', class_=f'swatch hue{n % scatter.HUES}'), ' ', name_of(run, int(n)))
        for n in np.unique(classes)[: scatter.HUES]
    ]
    return tag('p', *entries, class_='legend')


def name_of(run: Run, number: int) -> str:
    """A class's name, or its number."""
    names = run.predictions.get('labels', ())
    return str(names[number]) if 0 <= number < len(names) else str(number)


def _classes(run: Run) -> np.ndarray | None:
    """The examples' classes [N], where they have any."""
    task = run.config.get('task')
    name = str(task.get('label') or 'label') if isinstance(task, dict) else 'label'
    label = run.predictions.get(name)
    plain = label is not None and label.ndim == 1 and label.dtype.kind in 'iu'
    return label if plain else None
