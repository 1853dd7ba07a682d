/* Login by SASL2 (XEP-0388): what is asked for with it (XEP-0386, XEP-0198 §9, XEP-0484) and what is told of it. */
#ifndef LOADGEN_SASL2_H
#define LOADGEN_SASL2_H

#include "session.h"

#define NS_SASL2 "urn:xmpp:sasl:2"

/* Whether the client has a token and logs in by it. */
bool sasl2_has_token(const struct session *s);
/* What is missing in the features for the login that follows; NULL where nothing is. */
const char *sasl2_missing(const struct session *s, struct slice features);
/* Sends <authenticate/>: with the token, or with SCRAM's first message. */
void sasl2_authenticate(struct session *s);
/* Takes <success/>: the server's proof, the address, the session and the token. NULL, or what is wrong with it. */
const char *sasl2_take_success(struct session *s, struct slice success);

#endif
