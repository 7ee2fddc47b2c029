"""Where invitations come in. Each source yields text; ``core.model`` parses it."""
