"""Screening of finished pictures."""
