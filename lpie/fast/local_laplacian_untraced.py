"""The compiled local Laplacian filter as torch.compile is to see it: whole, called between two graphs.

A module of its own, since `torch.compiler.disable` takes seconds to import and most callers compile nothing.
"""

from __future__ import annotations

import torch

from lpie.fast import local_laplacian as local_laplacian_fast

sampled = torch.compiler.disable(local_laplacian_fast.sampled)  # numba and Triton kernels are compiled already
