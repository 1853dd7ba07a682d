#include "mam.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_MAM "urn:xmpp:mam:2"

void mam_ask(struct session *s, const struct mam_query *query)
{
    char form[600] = "", position[MAM_ID_MAX + 32] = "";
    if (query->with)
        snprintf(form, sizeof form,
                 "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>" NS_MAM
                 "</value></field><field var='with'><value>%s</value></field></x>",
                 query->with);
    if (query->after)
        snprintf(position, sizeof position, "<after>%s</after>", query->after);
    else if (query->newest)
        snprintf(position, sizeof position, "<before/>");
    session_send(s,
                 "<iq type='set' id='mam-%u'><query xmlns='" NS_MAM "' queryid='%u'>%s"
                 "<set xmlns='http://jabber.org/protocol/rsm'><max>%u</max>%s</set></query></iq>",
                 query->number, query->number, form, query->max, position);
}

static unsigned number_of(struct slice text)
{
    char digits[16] = "";
    if (text.ptr && text.len < sizeof digits)
        memcpy(digits, text.ptr, text.len);
    return (unsigned)strtoul(digits, NULL, 10);
}

static enum mam_kind read_end(struct slice e, struct mam_answer *answer)
{
    struct slice id = xml_attribute(e, "id");
    if (!slice_starts(id, "mam-", 4))
        return MAM_OTHER;
    answer->number = number_of((struct slice){id.ptr + 4, id.len - 4});
    struct slice fin = xml_find(e, "fin"), complete = xml_attribute(fin.ptr ? fin : e, "complete");
    if (!fin.ptr || !slice_is(xml_attribute(e, "type"), "result"))
        return MAM_ERROR;
    answer->complete = slice_is(complete, "true") || slice_is(complete, "1");
    answer->first = xml_text(fin, "first");
    answer->last = xml_text(fin, "last");
    return MAM_FIN;
}

enum mam_kind mam_read(struct slice stanza, struct mam_answer *answer)
{
    *answer = (struct mam_answer){0};
    if (xml_is(stanza, "iq"))
        return read_end(stanza, answer);
    struct slice result = xml_is(stanza, "message") ? xml_find(stanza, "result") : (struct slice){NULL, 0};
    if (!result.ptr || !slice_is(xml_attribute(result, "xmlns"), NS_MAM))
        return MAM_OTHER;
    struct slice forwarded = xml_find(result, "forwarded");
    answer->number = number_of(xml_attribute(result, "queryid"));
    answer->id = xml_attribute(result, "id");
    answer->message = forwarded.ptr ? xml_find(forwarded, "message") : forwarded;
    return answer->id.ptr && answer->message.ptr ? MAM_ROW : MAM_ERROR;
}

bool mam_copy_id(char to[MAM_ID_MAX], struct slice id)
{
    if (!id.ptr || id.len >= MAM_ID_MAX)
        return false;
    memcpy(to, id.ptr, id.len);
    to[id.len] = 0;
    return true;
}
