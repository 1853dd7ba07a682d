"""xmppchat: a messaging server on XMPP."""
