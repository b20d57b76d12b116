"""Networks, their specification and their weights (torch)."""
