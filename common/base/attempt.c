#include "base/attempt.h"

#include "base/json.h"
#include "base/memory_text.h"
#include "base/messages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The process of the work: what it says, and as the last line its result, go to the pipe. */
static _Noreturn void work_there(json_t *(*work)(const void *context), const void *context, int pipe)
{
    if (dup2(pipe, STDERR_FILENO) < 0)
        _exit(STATUS_FAILED);
    close(pipe);
    json_t *result = work(context);
    char *line = json_line(result);
    fprintf(stderr, "%s\n", line);
    free(line);
    json_decref(result);
    fflush(NULL);
    _exit(STATUS_DONE); /* what is to be done at the program's end is not this process's */
}

/* All that comes from a pipe, to its end; the caller frees it. */
static char *read_all(int pipe)
{
    char *text, buffer[4096];
    size_t length;
    FILE *out = memory_text_open(&text, &length);
    for (ssize_t got; (got = read(pipe, buffer, sizeof buffer)) != 0;) {
        if (got < 0 && errno != EINTR)
            die("cannot read what a part of the work says: %s", strerror(errno));
        if (got > 0)
            fwrite(buffer, 1, (size_t)got, out);
    }
    memory_text_close(out);
    close(pipe);
    return text;
}

static int status_of(pid_t process)
{
    int status;
    while (waitpid(process, &status, 0) < 0)
        if (errno != EINTR)
            die("cannot wait for a part of the work: %s", strerror(errno));
    return status;
}

/* Takes the last line off a text: what is before it goes to standard error. */
static char *last_line(const char *text)
{
    size_t end = strlen(text);
    while (end && text[end - 1] == '\n')
        end--;
    size_t begin = end;
    while (begin && text[begin - 1] != '\n')
        begin--;
    fwrite(text, 1, begin, stderr);
    char *line = new_array(end - begin + 1, 1);
    memcpy(line, text + begin, end - begin);
    return line;
}

/* The message of a process that failed: without the program's name, which all have. */
static char *message_of(const char *line, int status)
{
    size_t name = strlen(program_name());
    if (WIFSIGNALED(status))
        return format_string("a part of the work was ended by signal %d", WTERMSIG(status));
    if (!strncmp(line, program_name(), name) && !strncmp(line + name, ": ", 2))
        return copy_string(line + name + 2);
    return copy_string(*line ? line : "a part of the work failed without a message");
}

json_t *attempt(json_t *(*work)(const void *context), const void *context, char **message)
{
    int ends[2];
    if (pipe(ends) != 0)
        die("cannot make a pipe: %s", strerror(errno));
    fflush(NULL); /* what is in buffers would be written twice */
    pid_t process = fork();
    if (process < 0)
        die("cannot start a process: %s", strerror(errno));
    if (process == 0) {
        close(ends[0]);
        work_there(work, context, ends[1]);
    }
    close(ends[1]);
    char *text = read_all(ends[0]);
    int status = status_of(process);
    bool done = WIFEXITED(status) && WEXITSTATUS(status) == STATUS_DONE;
    char *line = last_line(text);
    json_t *result = done ? json_loads(line, 0, NULL) : NULL;
    if (!result)
        *message = message_of(line, status);
    free(line);
    free(text);
    return result;
}
