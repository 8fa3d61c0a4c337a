"""One file a command: what it does with its arguments, and its exit status."""
