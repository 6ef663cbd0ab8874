"""The commands of the command line, one module each.

A module has ABOUT (what it does, in a few words), EXAMPLE (a line that
runs), add_arguments(parser) and run(args), which may return the exit code.
Whatever takes long to import is imported in `run`, so that --help is quick.
"""
