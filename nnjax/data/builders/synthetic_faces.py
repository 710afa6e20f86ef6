"""Synthetic faces: drawn from parameters, no photograph and no person behind any of them."""

from collections.abc import Iterator

import numpy as np

IDENTITIES, EACH = 600, 12  # and images of each
SIDE, FINE = 32, 2  # pixels of an image; it is drawn so many times finer
NOISE = 7.0  # standard deviation of what is added to every pixel


def builder(source: str | None = None):
    """-> the builder class; the faces are computed, so `source` has no meaning."""
    import tensorflow_datasets as tfds

    class SyntheticFaces(tfds.core.GeneratorBasedBuilder):
        """7,200 synthetic faces, 32x32 in colour: 600 generated identities with 12 images each.

        An identity is some twenty numbers of shape and colour; an image adds pose, expression, gaze,
        light, background and noise. No photograph of anybody is in it.
        """

        name = 'synthetic_faces'
        VERSION = tfds.core.Version('1.0.0')

        def _info(self):
            image = tfds.features.Tensor(shape=(SIDE, SIDE, 3), dtype=np.uint8, encoding='bytes')
            label = tfds.features.Scalar(np.int32)
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict({'image': image, 'label': label})
            )

        def _split_generators(self, _):
            return {'train': self._generate_examples()}

        def _generate_examples(self) -> Iterator:
            for number in range(IDENTITIES):
                who = identity(np.random.default_rng([0, number]))
                for take in range(EACH):
                    image = face(np.random.default_rng([1, number, take]), who)
                    yield number * EACH + take, {'image': image, 'label': number}

    return SyntheticFaces


# Lengths are shares of the face's radius; y is down, x to the right, from the middle of the face.
SHAPE = {
    'width': (0.62, 0.88), 'height': (0.85, 1.08), 'jaw': (0.75, 1.0), 'hair_height': (0.15, 0.55),
    'hair_width': (0.95, 1.25), 'eye_x': (0.26, 0.46), 'eye_y': (-0.18, 0.02),
    'eye_size': (0.06, 0.12), 'eye_open': (0.5, 0.95), 'brow_y': (0.12, 0.2),
    'brow_length': (0.1, 0.2), 'brow_thick': (0.02, 0.07), 'brow_slant': (-0.3, 0.3),
    'nose_length': (0.15, 0.33), 'nose_width': (0.05, 0.13), 'mouth_y': (0.42, 0.58),
    'mouth_width': (0.16, 0.34), 'mouth_thick': (0.03, 0.07), 'beard': (-0.6, 0.2),
}  # fmt: skip
COLOURS = {
    'skin': ((150, 105, 80), (245, 205, 185)),
    'hair': ((10, 10, 10), (190, 140, 90)),
    'iris': ((20, 20, 20), (120, 150, 200)),
}


def identity(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    """What stays the same in every image of one synthetic face."""
    return {name: rng.uniform(*limits) for name, limits in (SHAPE | COLOURS).items()}


def face(rng: np.random.Generator, who: dict) -> np.ndarray:
    """A synthetic identity -> one image of it, uint8 [32, 32, 3]."""
    canvas = Canvas(rng)
    open_, gaze, smile = rng.uniform(0.5, 1.1), rng.normal(0, 0.15), rng.normal(0, 0.05)
    width, height, hair, skin = who['width'], who['height'], who['hair'], who['skin']
    canvas.ellipse(0, -0.12, width * who['hair_width'], height * 1.03, hair)
    canvas.ellipse(0, 0, width, height * 0.92, skin)
    canvas.ellipse(0, 0.35, width * who['jaw'], height * 0.62, skin)
    canvas.ellipse(0, -0.95 * height, width * 1.02, who['hair_height'], hair)
    if who['beard'] > 0:
        canvas.ellipse(0, 0.7, width * 0.72, 0.2 + who['beard'], 0.8 * hair + 0.2 * skin)
    for side in (-1, 1):
        x, y, size = side * who['eye_x'], who['eye_y'], who['eye_size']
        canvas.ellipse(x, y, 1.5 * size, size * who['eye_open'] * open_, 245)
        canvas.ellipse(x + gaze * size, y, 0.7 * size, 0.7 * size * min(1, open_), who['iris'])
        canvas.ellipse(x + gaze * size, y, 0.3 * size, 0.3 * size * min(1, open_), 5)
        slant = side * who['brow_slant']
        brow = who['brow_length'], who['brow_thick'], 0.7 * hair
        canvas.ellipse(x, y - who['brow_y'], *brow, slant)
    canvas.ellipse(0, 0.16 + 0.3 * who['nose_length'], who['nose_width'], 0.5 * who['nose_length'],
                   0.82 * skin)  # fmt: skip
    lips = np.array([170, 60, 60])
    thick = who['mouth_thick'] + abs(smile)
    canvas.ellipse(0, who['mouth_y'], who['mouth_width'], thick, lips)
    # A smile shows its upper half in skin: what is left bends up, a frown's down.
    canvas.ellipse(0, who['mouth_y'] - 2 * smile, who['mouth_width'], thick - 0.02, 0.97 * skin)
    return canvas.image(rng)


class Canvas:
    """A grid of pixels seen from a random pose, on which ellipses of the face are painted."""

    def __init__(self, rng: np.random.Generator):
        count = SIDE * FINE
        self._pixels = np.empty((count, count, 3), np.float32)
        self._pixels[:] = rng.uniform(30, 220, 3)
        radius = 0.4 * count * rng.uniform(0.88, 1.08)
        down, right = (count * share + rng.normal(0, 0.025 * count) for share in (0.53, 0.5))
        angle, self._yaw = np.deg2rad(rng.normal(0, 6)), rng.normal(0, 0.12)
        y, x = (np.arange(count) + 0.5)[:, None] - down, (np.arange(count) + 0.5)[None] - right
        self._x = ((np.cos(angle) * x + np.sin(angle) * y) / radius).astype(np.float32)
        self._y = ((np.cos(angle) * y - np.sin(angle) * x) / radius).astype(np.float32)

    def ellipse(self, x, y, wide, tall, colour, slant=0.0) -> None:
        """Paints an ellipse about (x, y), turned by `slant`; a turned head moves what is central."""
        across = self._x - (x + self._yaw * (1 - x * x) * 0.7)
        down = self._y - y
        cos, sin = np.float32(np.cos(slant)), np.float32(np.sin(slant))
        u, v = (cos * across + sin * down) / wide, (cos * down - sin * across) / tall
        self._pixels[u * u + v * v <= 1] = colour

    def image(self, rng: np.random.Generator) -> np.ndarray:
        """What was painted, under a light, with noise: uint8 [32, 32, 3]."""
        place = np.linspace(-0.5, 0.5, SIDE * FINE)
        light = 1 + rng.normal(0, 0.25) * place[None] + rng.normal(0, 0.25) * place[:, None]
        lit = self._pixels * (light * rng.uniform(0.75, 1.15))[..., None]
        small = lit.reshape(SIDE, FINE, SIDE, FINE, 3).mean((1, 3))
        return np.clip(np.rint(small + rng.normal(0, NOISE, small.shape)), 0, 255).astype(np.uint8)
