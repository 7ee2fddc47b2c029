"""The command line: one small file a verb, and the only place that names concrete parts."""
