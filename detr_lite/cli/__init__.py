"""The command line: `detr-lite COMMAND`, one module a command."""
