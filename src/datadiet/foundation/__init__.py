"""What everything stands on: errors, files that appear whole, progress, registries, intervals."""
