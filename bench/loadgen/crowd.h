/* Many sessions at once: logged in a few at a time, watched, and sent home. */
#ifndef LOADGEN_CROWD_H
#define LOADGEN_CROWD_H

#include "session.h"

struct crowd {
    struct run *run;
    struct session *sessions;
    unsigned size, next, ready, over;
    unsigned cut; /* by the scenario, with session_cut */
    void (*stanza)(struct session *, struct slice stanza); /* may be NULL */
    struct histogram login_ns;
};

/* Users first, first+1, ...; `goal` for each.  True when all got there before the timeout. */
bool crowd_enter(struct crowd *crowd, struct run *run, unsigned size, enum goal goal);
/* As crowd_enter for the users up to `size` of a crowd that exists; for a crowd that enters in steps. */
bool crowd_enter_until(struct crowd *crowd, unsigned size, enum goal goal);
void crowd_init(struct crowd *crowd, struct run *run, unsigned size);
/* Waits until the server has acknowledged everything; true without stream management, too. */
bool crowd_settle(struct crowd *crowd, double patience);
/* Cuts the connections of those from number `from` on, who have acknowledged what they received, as a client does
 * before it sleeps.  False where the server does not acknowledge all, or a session could not be resumed. */
bool crowd_cut(struct crowd *crowd, unsigned from);
/* Ends all streams in order. */
void crowd_end(struct crowd *crowd);
/* Ends all streams in order and frees the crowd. */
void crowd_leave(struct crowd *crowd);

#endif
