"""The only network I/O of the agent: one-off calls, and the sessions that carry beats."""
