"""The command line: own files for init, serve, check and config; everything else comes from `@command`."""
