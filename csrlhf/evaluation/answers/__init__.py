"""Answers of policies: generated, journalled, kept, labelled."""
