/*
 * stream-cat: any stream as JSON lines, one object a line: header, records,
 * trailer. Numeric arrays are printed by the types that the header declares.
 */
#include "base/cli.h"
#include "base/input.h"
#include "base/json.h"
#include "base/messages.h"
#include "base/output.h"
#include "stream/stream_reader.h"

#include <stdlib.h>
#include <string.h>

/* Prints a line, which it frees. */
static void print(struct output *output, char *line)
{
    output_write(output, line, strlen(line));
    output_write(output, "\n", 1);
    free(line);
}

int main(int argc, char **argv)
{
    const char *path = NULL;
    bool header_only = false, verify = false;
    uint64_t most = OPTION_NO_LIMIT;
    const struct option_spec specs[] = {
        {0, "header", NULL, "print the header only", OPTION_FLAG, &header_only, 0, 0, NULL},
        {'n', "records", "N", "print the header and the first N records only", OPTION_NUMBER, &most, 0, 0, NULL},
        {0, "verify", NULL, "print nothing; the exit status says whether format, counts and checksum are right",
         OPTION_FLAG, &verify, 0, 0, NULL},
        OPTION_OUTPUT(&path),
        OPTION_END,
    };
    const struct tool tool = {"stream-cat", "Shows a stream as JSON lines.", "[FILE]", specs, 1};
    int first = cli_parse(&tool, argc, argv);
    struct stream_reader *reader = stream_open(cli_input(argc, argv, first), NULL);
    struct output *output = output_open(path, OUTPUT_TEXT);
    struct record record;
    if (header_only)
        most = 0;
    if (verify)
        most = OPTION_NO_LIMIT;
    else
        print(output, json_line(stream_header(reader)));
    for (uint64_t printed = 0; printed < most && stream_next(reader, &record); printed++) {
        char *line = record_text(&record); /* which checks the arrays, also when nothing is printed */
        if (verify)
            free(line);
        else
            print(output, line);
        input_count(stream_input(reader), 1, "records");
    }
    if (stream_trailer(reader) && !verify)
        print(output, json_line(stream_trailer(reader)));
    stream_close(reader);
    output_finish(output);
    return STATUS_DONE;
}
