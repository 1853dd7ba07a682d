/* A client that has a resource: what it asks for at first, and what it answers. */
#ifndef LOADGEN_BOUND_H
#define LOADGEN_BOUND_H

#include "session.h"

/* The node that clients ask for with --publish (XEP-0163). */
#define NODE "urn:xmpp:bench"
/* Hash of capabilities (XEP-0115 §5.1) of a client that asks for news of the node: of
 * "client/pc//bench<http://jabber.org/protocol/disco#info<urn:xmpp:bench+notify<". */
#define CLIENT "https://bench.invalid"
#define CAPABILITIES "wLzSwHVQOeU+ypfEbHj/cRDfn64="

/* Bits of session.awaited. */
enum { AWAIT_CARBONS = 1, AWAIT_ROSTER = 2, AWAIT_PRESENCE = 4, AWAIT_SM = 8 };

/* The rest of a login, the same by all ways: the roster, and its presence unless it is GOAL_QUIET. */
void bound_start(struct session *s);
/* Handles what the server sends: stanzas, and the elements of stream management. */
void bound_received(struct session *s, struct slice e);

#endif
