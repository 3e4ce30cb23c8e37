/* How much memory a program may take, here and now. */
#ifndef FFKV_AVAILABLE_MEMORY_H
#define FFKV_AVAILABLE_MEMORY_H

#include <stdint.h>

/*
 * Bytes that the system can give without swapping (MemAvailable of /proc/meminfo, pages of files that it can
 * drop among them), or less where a control group of this process, version 1 or 2, has a limit: that, less
 * what its processes have. UINT64_MAX: it is not known.
 */
uint64_t available_memory(void);

#endif
