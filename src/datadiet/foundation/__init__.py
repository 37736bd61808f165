"""What everything stands on: errors, files that appear whole, progress, options, registries, intervals."""

__version__ = "0.1.0"
