#include "buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *need(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "loadgen: out of memory\n");
        exit(3);
    }
    return memory;
}

char *buffer_reserve(struct buffer *b, size_t wanted)
{
    if (b->capacity - b->end >= wanted)
        return b->data + b->end;
    size_t length = buffer_length(b);
    if (b->start > 0) {
        memmove(b->data, b->data + b->start, length);
        b->start = 0;
        b->end = length;
    }
    if (b->capacity - b->end < wanted) {
        size_t capacity = b->capacity ? b->capacity : 1024;
        while (capacity - b->end < wanted)
            capacity *= 2;
        char *data = realloc(b->data, capacity);
        if (!data) {
            fprintf(stderr, "loadgen: out of memory\n");
            exit(3);
        }
        b->data = data;
        b->capacity = capacity;
    }
    return b->data + b->end;
}

void buffer_append(struct buffer *b, const char *bytes, size_t length)
{
    memcpy(buffer_reserve(b, length), bytes, length);
    b->end += length;
}

void buffer_vprintf(struct buffer *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    char *place = buffer_reserve(b, 512);
    int length = vsnprintf(place, b->capacity - b->end, format, args);
    if (length >= 0 && (size_t)length >= b->capacity - b->end) {
        place = buffer_reserve(b, (size_t)length + 1);
        length = vsnprintf(place, (size_t)length + 1, format, again);
    }
    va_end(again);
    if (length > 0)
        b->end += (size_t)length;
}

void buffer_consume(struct buffer *b, size_t length)
{
    b->start += length;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buffer_clear(struct buffer *b)
{
    b->start = b->end = 0;
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}
