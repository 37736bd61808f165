"""The loss landscape seen from the data: neural tangent kernels and linear mode connectivity."""

from datadiet.landscape.barrier import Barrier, error_barrier
from datadiet.landscape.interpolation import interpolate
from datadiet.landscape.ntk import kernel_distance, kernel_velocity, ntk_gram

__all__ = ["Barrier", "error_barrier", "interpolate", "kernel_distance", "kernel_velocity", "ntk_gram"]
