"""Device operations on training examples, inside the compiled step: what a config's `augment` names.

Each function here makes one of the operations of `operation`. Those on images read and write the
field 'image', float [H, W, C], and keep its shape and dtype; those that move pixels move 'boxes'
with them, where there are any. Those of colour and tone want values in [0, 1] and clip to them:
`prepare='scale'` comes first, and `normalize`, where it is wanted, last. Those on sound read and
write the field 'audio': samples, then features.
"""

from nnjax.data.augment.colour import color_jitter, grayscale, normalize
from nnjax.data.augment.damage import cutout, erasing, gaussian_blur, noise
from nnjax.data.augment.features import centered, cmvn, deltas, log_mel, mfcc, picture
from nnjax.data.augment.geometry import (
    affine,
    flip,
    pad_crop,
    random_resized_crop,
    rotate,
    translate,
)
from nnjax.data.augment.mixing import cutmix, mixup
from nnjax.data.augment.operation import keep
from nnjax.data.augment.policy import rand_augment
from nnjax.data.augment.sound import (
    add_noise,
    background,
    echo,
    gain,
    spec_augment,
    speed,
    time_shift,
)

__all__ = [
    'add_noise',
    'affine',
    'background',
    'centered',
    'cmvn',
    'color_jitter',
    'cutmix',
    'cutout',
    'deltas',
    'echo',
    'erasing',
    'flip',
    'gain',
    'gaussian_blur',
    'grayscale',
    'keep',
    'log_mel',
    'mfcc',
    'mixup',
    'noise',
    'normalize',
    'pad_crop',
    'picture',
    'rand_augment',
    'random_resized_crop',
    'rotate',
    'spec_augment',
    'speed',
    'time_shift',
    'translate',
]
