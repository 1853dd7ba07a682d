/* A client that has a resource: what it asks for at first, and what it answers. */
#ifndef LOADGEN_BOUND_H
#define LOADGEN_BOUND_H

#include "session.h"

/* Bits of session.awaited. */
enum { AWAIT_CARBONS = 1, AWAIT_ROSTER = 2, AWAIT_PRESENCE = 4, AWAIT_SM = 8 };

/* The rest of a login, the same by all ways: the roster, and its presence unless it is GOAL_QUIET. */
void bound_start(struct session *s);
/* Handles what the server sends: stanzas, and the elements of stream management. */
void bound_received(struct session *s, struct slice e);

#endif
