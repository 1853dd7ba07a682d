"""The load generator, and the comparison of xmppchat with Prosody and ejabberd.  See README.md."""
