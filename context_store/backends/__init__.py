"""Adapters of the record port: `sqlite` (embedded) and `mongodb`."""
