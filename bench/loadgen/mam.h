/* Queries of a message archive (XEP-0313) and what comes back. */
#ifndef LOADGEN_MAM_H
#define LOADGEN_MAM_H

#include "session.h"

enum { MAM_ID_MAX = 128 };

/* What to ask: `with` a bare JID or NULL; after an archive id, or (`after` NULL) from the beginning or the end. */
struct mam_query {
    unsigned number; /* comes back with each result */
    const char *with, *after;
    bool newest; /* the last page, not the first */
    unsigned max;
};

enum mam_kind { MAM_OTHER, MAM_ROW, MAM_FIN, MAM_ERROR };

struct mam_answer {
    unsigned number;      /* of the query */
    struct slice id;      /* a row: its id in the archive */
    struct slice message; /* a row: from the start of the message that was archived */
    struct slice first, last; /* the end: ids of the page's rows; ptr NULL where it has none */
    bool complete;            /* the end: there is nothing beyond this page */
};

void mam_ask(struct session *s, const struct mam_query *query);
enum mam_kind mam_read(struct slice stanza, struct mam_answer *answer);
/* False when the id is too long to be kept. */
bool mam_copy_id(char to[MAM_ID_MAX], struct slice id);

#endif
