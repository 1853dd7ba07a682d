#include "xml.h"

#include <string.h>

static bool ends_name(char c)
{
    return c == ' ' || c == '>' || c == '/' || c == '\t' || c == '\n' || c == '\r';
}

/* The '>' that closes the tag opened at `p`; a '>' within quotes does not count. */
static const char *tag_end(const char *p, const char *end)
{
    char quote = 0;
    for (; p < end; p++) {
        if (quote) {
            p = memchr(p, quote, (size_t)(end - p));
            if (!p)
                return NULL;
            quote = 0;
        } else if (*p == '>') {
            return p;
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
        }
    }
    return NULL;
}

/* Counts one tag; FRAME_MORE means that no unit ends with it. */
static enum frame count_tag(struct framer *f, const char *open, const char *close)
{
    if (open[1] == '?')
        return f->depth ? FRAME_BAD : FRAME_MORE; /* the XML declaration */
    if (open[1] == '!')
        return FRAME_BAD;
    if (open[1] == '/') {
        if (f->depth == 0)
            return FRAME_BAD;
        f->depth--;
        return f->depth == 0 ? FRAME_END : f->depth == 1 ? FRAME_ELEMENT : FRAME_MORE;
    }
    bool empty = close[-1] == '/';
    if (f->depth == 0) {
        f->depth = 1;
        return empty ? FRAME_BAD : FRAME_HEADER;
    }
    if (empty)
        return f->depth == 1 ? FRAME_ELEMENT : FRAME_MORE;
    f->depth++;
    return FRAME_MORE;
}

enum frame frame_next(struct framer *f, const char *data, size_t len, struct slice *unit, size_t *used)
{
    const char *end = data + len;
    *used = 0;
    for (;;) {
        const char *open = memchr(data + f->position, '<', len - f->position);
        if (!open) {
            f->position = len;
            if (f->depth <= 1) { /* white space between stanzas is a keep-alive */
                *used = len;
                f->position = 0;
            }
            return FRAME_MORE;
        }
        if (f->depth <= 1)
            f->start = (size_t)(open - data);
        const char *close = tag_end(open + 1, end);
        if (!close) {
            f->position = (size_t)(open - data);
            return FRAME_MORE;
        }
        enum frame result = count_tag(f, open, close);
        f->position = (size_t)(close + 1 - data);
        if (result != FRAME_MORE) {
            *unit = (struct slice){data + f->start, f->position - f->start};
            *used = f->position;
            f->position = 0;
            return result;
        }
    }
}

bool xml_is(struct slice element, const char *name)
{
    size_t n = strlen(name);
    return element.len > n + 1 && memcmp(element.ptr + 1, name, n) == 0 && ends_name(element.ptr[n + 1]);
}

struct slice xml_attribute(struct slice element, const char *name)
{
    size_t n = strlen(name);
    const char *p = element.ptr + 1, *end = element.ptr + element.len;
    while (p < end && !ends_name(*p))
        p++;
    while (p < end && *p != '>') {
        if (ends_name(*p)) {
            p++;
            continue;
        }
        const char *key = p;
        const char *equals = memchr(p, '=', (size_t)(end - p));
        if (!equals || end - equals < 3)
            break;
        const char *value = equals + 2;
        const char *close = memchr(value, equals[1], (size_t)(end - value));
        if (!close)
            break;
        if ((size_t)(equals - key) == n && memcmp(key, name, n) == 0)
            return (struct slice){value, (size_t)(close - value)};
        p = close + 1;
    }
    return (struct slice){NULL, 0};
}

struct slice xml_find(struct slice element, const char *name)
{
    size_t n = strlen(name);
    const char *p = element.ptr, *end = element.ptr + element.len;
    while ((p = memchr(p, '<', (size_t)(end - p))) != NULL) {
        if ((size_t)(end - p) > n + 1 && memcmp(p + 1, name, n) == 0 && ends_name(p[n + 1]))
            return (struct slice){p, (size_t)(end - p)};
        p++;
    }
    return (struct slice){NULL, 0};
}

struct slice xml_text(struct slice element, const char *name)
{
    struct slice nothing = {NULL, 0};
    struct slice found = xml_find(element, name);
    if (!found.ptr)
        return nothing;
    const char *end = found.ptr + found.len;
    const char *close = tag_end(found.ptr + 1, end);
    if (!close || close[-1] == '/')
        return nothing;
    const char *next = memchr(close, '<', (size_t)(end - close));
    return next ? (struct slice){close + 1, (size_t)(next - close - 1)} : nothing;
}

bool slice_is(struct slice s, const char *text)
{
    size_t n = strlen(text);
    return s.ptr && s.len == n && memcmp(s.ptr, text, n) == 0;
}

bool slice_starts(struct slice s, const char *text, size_t length)
{
    return s.ptr && s.len >= length && memcmp(s.ptr, text, length) == 0;
}

bool slice_contains(struct slice s, const char *text)
{
    return s.ptr && memmem(s.ptr, s.len, text, strlen(text)) != NULL;
}
