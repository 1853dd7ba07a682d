/* Cuts an XMPP stream into its top-level elements and looks things up in one of them.
 *
 * This is no XML parser: it trusts the server to write well-formed XML without CDATA sections and to declare
 * stanza namespaces as default ones, which every server does.  That is what makes the generator cheap.
 */
#ifndef LOADGEN_XML_H
#define LOADGEN_XML_H

#include <stdbool.h>
#include <stddef.h>

struct slice {
    const char *ptr;
    size_t len;
};

enum frame {
    FRAME_MORE,    /* incomplete: wait for bytes */
    FRAME_HEADER,  /* <stream:stream ...> */
    FRAME_ELEMENT, /* a whole stanza or nonza */
    FRAME_END,     /* </stream:stream> */
    FRAME_BAD,     /* nothing XMPP allows */
};

struct framer {
    size_t position; /* bytes already looked at */
    size_t start;    /* where the current element begins */
    unsigned depth;
};

/* Looks for the next unit in data[0..len).  `used` says how many bytes may be dropped afterwards. */
enum frame frame_next(struct framer *f, const char *data, size_t len, struct slice *unit, size_t *used);

bool xml_is(struct slice element, const char *name);
/* The attribute of the outermost start tag; ptr is NULL where it is missing. */
struct slice xml_attribute(struct slice element, const char *name);
/* From the first start tag of that name, at any depth, to the end; ptr is NULL where there is none. */
struct slice xml_find(struct slice element, const char *name);
/* The text that directly follows the first start tag of that name. */
struct slice xml_text(struct slice element, const char *name);

bool slice_is(struct slice s, const char *text);
bool slice_starts(struct slice s, const char *text, size_t length);
bool slice_contains(struct slice s, const char *text);

#endif
