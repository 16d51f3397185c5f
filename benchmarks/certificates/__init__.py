"""How often certificates and their bounds hold."""
