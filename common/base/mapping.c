#include "base/mapping.h"

#include "base/messages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct mapping mapping_open(const char *path, size_t least, const char *format)
{
    struct stat status;
    /* O_NONBLOCK: not to wait for a named pipe's other end. It does nothing to files. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 || fstat(descriptor, &status) != 0)
        die("%s: %s", path, strerror(errno));
    if (!S_ISREG(status.st_mode) || (uintmax_t)status.st_size < least
        || (uintmax_t)status.st_size > SIZE_MAX)
        die("%s: not a %s file", path, format);
    struct mapping mapping = {NULL, (size_t)status.st_size};
    void *bytes = mmap(NULL, mapping.size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (bytes == MAP_FAILED)
        die("%s: cannot map: %s", path, strerror(errno));
    close(descriptor);
    mapping.bytes = bytes;
    return mapping;
}

void mapping_close(struct mapping *mapping)
{
    munmap((void *)(uintptr_t)mapping->bytes, mapping->size);
}
