/* The text that is written: its first and last lines, and the beginning of every line. */
#ifndef LINES_H
#define LINES_H
#include <stdio.h>

#include "functions.h"
#include "tasks.h"

/* What could not be written, by number. */
struct unseen {
    unsigned returns, calls, memory;
};

/* NULL, with a message on stderr, when the file cannot be written. */
FILE *lines_open(const char *path);

/* What stands before the text of an event: task, CPU, and the time, `ahead` instructions before what
 * was counted on this vCPU. The text and a line end are to follow. */
void line_begin(const struct guest *guest, struct task *task, unsigned vcpu, unsigned ahead);

void lines_end(const struct unseen *unseen);

#endif
