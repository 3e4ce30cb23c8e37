/*
 * A trace as a stream of kind trace; ffkv-stream(5) defines its records: of each batch its tokens with the
 * rows that are traced, then one of each layer.
 */
#ifndef FFKV_TRACE_RECORDS_H
#define FFKV_TRACE_RECORDS_H

#include "analysis/trace.h"
#include "stream/fields.h"
#include "stream/stream_writer.h"

struct trace_records;

/*
 * Opens path. The header is that of the activations, of which the reader is, with the trace's options, and
 * a stage of this tool. All are used until the end.
 */
struct trace_records *trace_records_open(const char *path, const char *tool, const struct model *model,
                                         const struct candidates *candidates,
                                         const struct stream_reader *activations,
                                         const struct trace_options *options);

void trace_records_add(struct trace_records *records, const struct trace *trace);

/* Behind the last batch: writes the trailer, completes the output, and frees records. */
void trace_records_finish(struct trace_records *records);

#endif
