"""Sizes that several scripts share, nnjax's side and PyTorch's."""

CHANNELS = (32, 64, 128)  # of the small CNN and VGG
WIDTH, HEADS, LAYERS = 256, 4, 4  # of the recurrent networks and the Transformers
TIME, VOCABULARY = 64, 1000  # of sequences of tokens
BEAMS, LONGEST, PENALTY = 4, 64, 0.6  # of a search for translations
BEGIN, END = 2, 3  # ids that begin and end a translation
RATE, BANDS, WORDS = 16000, 40, 20  # samples a second, mel bands, classes
HOP = {'mlp': 320, 'vgg': 200}  # samples between two frames
