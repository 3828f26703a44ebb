"""Encode columns as features: numbers as they are, categories and missing values as numbers."""
