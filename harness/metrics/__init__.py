"""Image metrics as exact, typed functions of arrays: no files, no runner, no command line."""
