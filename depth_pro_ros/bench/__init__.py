"""How fast, how large and how exact: ours beside others, with the same weights and picture."""
