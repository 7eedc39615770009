"""The sub-commands of `depth_pro`: each parses, imports lazily and calls one function."""
