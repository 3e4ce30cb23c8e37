/*
 * Records that were packed before it is their turn, and wait for it in a temporary file, which has no name:
 * in the folder that TMPDIR names, or /tmp. It goes away with the program.
 */
#ifndef FFKV_WAITING_RECORDS_H
#define FFKV_WAITING_RECORDS_H

#include "stream/stream_writer.h"

struct waiting_file;

/* Some that come one after the other in the stream. 0 is none of them. */
struct waiting_records {
    struct waiting_part *part;
    size_t count, capacity;
};

struct waiting_file *waiting_open(void);
void waiting_close(struct waiting_file *file);

/*
 * Puts count records, packed in buffer, behind the others, and empties buffer. Threads may call it at the
 * same time, of different records. A full disk ends the program.
 */
void waiting_add(struct waiting_file *file, struct waiting_records *records, msgpack_sbuffer *buffer,
                 uint64_t count);

/* Appends them to a stream; they wait no more. Not while others are added. */
void waiting_write(struct waiting_file *file, struct waiting_records *records, struct stream_writer *writer);

/* When they do not wait. */
void waiting_free(struct waiting_records *records);

#endif
