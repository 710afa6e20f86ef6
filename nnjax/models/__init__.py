"""Models by name: `bind(models.CNN, channels=(32, 64))`."""

from nnjax.models.autoencoder import VAE, Autoencoder
from nnjax.models.clusters import Clusters
from nnjax.models.cnn import CNN
from nnjax.models.conformer import Conformer
from nnjax.models.deep_cnn import DeepCNN
from nnjax.models.detector import Detector
from nnjax.models.embedder import Embedder
from nnjax.models.googlenet import GoogLeNet
from nnjax.models.mlp import MLP
from nnjax.models.resnet import CifarResNet, ResNet
from nnjax.models.rnn import RNN
from nnjax.models.speech import ConvRNN, SeparableCNN, TimeCNN
from nnjax.models.tabular import TabularMLP
from nnjax.models.transformer import Transformer, TransformerDecoder, TransformerEncoder
from nnjax.models.vgg import VGG
from nnjax.models.vit import ViT

__all__ = [
    'CNN',
    'MLP',
    'RNN',
    'VAE',
    'VGG',
    'Autoencoder',
    'CifarResNet',
    'Clusters',
    'Conformer',
    'ConvRNN',
    'DeepCNN',
    'Detector',
    'Embedder',
    'GoogLeNet',
    'ResNet',
    'SeparableCNN',
    'TabularMLP',
    'TimeCNN',
    'Transformer',
    'TransformerDecoder',
    'TransformerEncoder',
    'ViT',
]
