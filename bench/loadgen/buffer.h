/* A byte queue: appended to at the end, consumed from the front. */
#ifndef LOADGEN_BUFFER_H
#define LOADGEN_BUFFER_H

#include <stdarg.h>
#include <stddef.h>

struct buffer {
    char *data;
    size_t start, end, capacity;
};

static inline size_t buffer_length(const struct buffer *b) { return b->end - b->start; }
static inline char *buffer_front(const struct buffer *b) { return b->data + b->start; }

/* Makes room for `wanted` bytes behind the end and returns where they go; commit them with b->end += n. */
char *buffer_reserve(struct buffer *b, size_t wanted);
void buffer_append(struct buffer *b, const char *bytes, size_t length);
void buffer_vprintf(struct buffer *b, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
void buffer_consume(struct buffer *b, size_t length);
void buffer_clear(struct buffer *b);
void buffer_free(struct buffer *b);

/* malloc and calloc that end the program when memory is out: a half-loaded benchmark has no meaning. */
void *need(size_t count, size_t size);

#endif
