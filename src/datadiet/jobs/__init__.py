"""The verbs, one file or folder each."""
