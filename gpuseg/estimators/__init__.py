"""The public, scikit-learn-shaped estimators: parameters and fitted attributes, no arithmetic."""
