"""Synthetic customers and transactions to try gpuseg on."""
