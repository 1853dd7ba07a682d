#include "sm.h"

#include <stdlib.h>
#include <string.h>

const char *sm_acknowledge(struct sm *sm, struct slice answer)
{
    struct slice h = xml_attribute(answer, "h");
    char text[16], *end;
    if (!h.ptr || h.len == 0 || h.len >= sizeof text)
        return "an acknowledgement without a count";
    memcpy(text, h.ptr, h.len);
    text[h.len] = 0;
    unsigned long long count = strtoull(text, &end, 10);
    if (*end || count > UINT32_MAX)
        return "an acknowledgement without a count";
    uint32_t progress = (uint32_t)count - sm->acknowledged; /* of a count that went back, huge */
    if (progress > sm->sent - sm->acknowledged)
        return progress > UINT32_MAX / 2 ? "the acknowledged count went back" : "more acknowledged than was sent";
    sm->acknowledged = (uint32_t)count;
    return NULL;
}

const char *sm_enable(struct sm *sm, struct slice enabled)
{
    struct slice id = xml_attribute(enabled, "id"), resume = xml_attribute(enabled, "resume");
    if (!sm->requested || sm->enabled)
        return "stream management enabled without being asked for";
    if (id.ptr && id.len < sizeof sm->id && (slice_is(resume, "true") || slice_is(resume, "1"))) {
        memcpy(sm->id, id.ptr, id.len);
        sm->id[id.len] = 0;
    }
    sm->enabled = true;
    return NULL;
}

const char *sm_resume(struct sm *sm, struct slice resumed)
{
    if (!slice_is(xml_attribute(resumed, "previd"), sm->id))
        return "another session was resumed";
    return sm_acknowledge(sm, resumed);
}
