"""Rows from files: JSON, CSV, TSV, Parquet, compressed or not, and ``datasets`` folders, read as checked records."""
