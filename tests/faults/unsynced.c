/* Keeps what the power would take: of each write to a database and its log, what stood there, until a sync (F-02).

   Loaded into the server by LD_PRELOAD. For /a/b.db, $XC_UNSYNCED/%a%b.db holds a record of each write since the last
   sync: offset and length, 8 bytes each, then what was there before (zeros behind the end of the file). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The file that belongs to a descriptor; 0 where it is none of a database. */
static int undo_of(int fd, char *undo) {
    const char *folder = getenv("XC_UNSYNCED");
    char link[64], path[PATH_MAX];
    if (!folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    const char *end = strrchr(path, '.');
    if (!end || (strcmp(end, ".db") && strcmp(end, ".db-wal"))) return 0;
    for (char *c = path; *c; c++)
        if (*c == '/') *c = '%';
    return snprintf(undo, PATH_MAX, "%s/%s", folder, path) < PATH_MAX;
}

static void remember(int fd, size_t size, off_t offset) {
    char undo[PATH_MAX];
    if (!undo_of(fd, undo)) return;
    uint64_t head[2] = {(uint64_t)offset, size};
    char *before = calloc(1, size);
    int file = open(undo, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (!before || file < 0 || pread(fd, before, size, offset) < 0) abort();
    struct iovec parts[2] = {{head, sizeof head}, {before, size}};
    if (writev(file, parts, 2) < 0) abort();
    close(file);
    free(before);
}

static int forget(int fd, int result) {
    char undo[PATH_MAX];
    if (!result && undo_of(fd, undo)) truncate(undo, 0);
    return result;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) {
    REAL(pwrite64);
    remember(fd, size, offset);
    return real(fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    REAL(pwrite);
    remember(fd, size, offset);
    return real(fd, data, size, offset);
}

int fsync(int fd) {
    REAL(fsync);
    return forget(fd, real(fd));
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return forget(fd, real(fd));
}
