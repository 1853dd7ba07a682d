/* The counters of stream management (XEP-0198) on one stream, and what they must never be. */
#ifndef LOADGEN_SM_H
#define LOADGEN_SM_H

#include <stdint.h>

#include "xml.h"

#define NS_SM "urn:xmpp:sm:3"

struct sm {
    bool requested; /* <enable/> was sent: from there on what we send counts (§4) */
    bool enabled;   /* <enabled/> came: from there on what we receive counts */
    uint32_t sent, acknowledged, handled; /* all modulo 2^32 */
    unsigned unasked;                     /* stanzas sent since the last <r/> */
    char id[160];                         /* to resume with; "" where the server did not offer it */
};

static inline bool sm_is_settled(const struct sm *sm) { return sm->acknowledged == sm->sent; }
static inline bool sm_counts(struct slice e) { return xml_is(e, "message") || xml_is(e, "iq") || xml_is(e, "presence"); }
/* Takes the `h` of an <a/> or <resumed/>; an error's text if it is missing, goes back, or is beyond what was sent. */
const char *sm_acknowledge(struct sm *sm, struct slice answer);
/* Takes an <enabled/>. */
const char *sm_enable(struct sm *sm, struct slice enabled);
/* Takes a <resumed/> of the session that was asked for. */
const char *sm_resume(struct sm *sm, struct slice resumed);

#endif
