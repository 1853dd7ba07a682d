"""XMPP without input and output: bytes to events and back. No event loop, socket, clock or database in here."""
