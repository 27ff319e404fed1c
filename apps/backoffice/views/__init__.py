"""Pages that need no login, and the operators' dashboard."""
