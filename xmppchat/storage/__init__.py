"""Storage: the database of a server. All writes go through one group-commit writer, all reads through readers."""
