"""The pure heart: values and decisions. No sockets, files, clock, environment, randomness or logging in here."""
