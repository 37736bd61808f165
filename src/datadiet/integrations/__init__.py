"""Adapters between datadiet and training frameworks; nothing here is imported before it is asked for."""
