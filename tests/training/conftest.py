"""Tests train networks of a few channels, whose threads would only wait for each other."""

import torch

torch.set_num_threads(1)
